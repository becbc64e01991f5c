import { deflateRawSync } from 'node:zlib';

/** A member of an archive to make. */
export interface Member {
  name: string;
  content: Uint8Array;
  /** Stored without compression. Default: deflated. */
  stored?: boolean;
  executable?: boolean;
}

/** Makes a zip archive by PKWARE's APPNOTE.TXT 4.3, with checksums of zero. */
export function makeZip(members: Member[], comment = ''): Buffer {
  const local: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content, stored = false, executable = false } of members) {
    const packed = stored ? Buffer.from(content) : deflateRawSync(content);
    const encoded = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(stored ? 0 : 8, 4);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(content.length, 18);
    common.writeUInt16LE(encoded.length, 22);
    const head = Buffer.concat([Buffer.from('PK\x03\x04'), common, encoded, packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE((executable ? 0o100755 : 0o100644) * 2 ** 16, 6);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\0', 'latin1'), common, tail, encoded]));
    local.push(head);
    offset += head.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(members.length, 4);
  end.writeUInt16LE(members.length, 6);
  end.writeUInt32LE(listing.length, 8);
  end.writeUInt32LE(offset, 12);
  end.writeUInt16LE(Buffer.byteLength(comment), 16);
  return Buffer.concat([...local, listing, Buffer.from('PK\x05\x06'), end, Buffer.from(comment)]);
}
