import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fc, test as prop } from '@fast-check/vitest';
import { expect, it } from 'vitest';
import { unzip } from '../../install/zip.mjs';
import { makeZip } from './make-zip';
import { scratch } from './scratch';

const bytes = (text: string) => new TextEncoder().encode(text);

function archive(folder: string, content: Uint8Array): string {
  const path = join(folder, 'a.whl');
  writeFileSync(path, content);
  return path;
}

it('writes only the chosen members, to the given paths', async () => {
  const folder = scratch();
  const path = archive(
    folder,
    makeZip([
      { name: 'tensorflow/lib.so.2', content: bytes('library') },
      { name: 'tensorflow/include/', content: bytes(''), stored: true },
      { name: 'tensorflow/include/c_api.h', content: bytes('header'), stored: true },
      { name: 'tensorflow/python/__init__.py', content: bytes('import os') },
    ]),
  );
  const place = (member: string) => (member.includes('python') ? undefined : member.replace('tensorflow/', 'deps/'));
  expect(await unzip(path, place, folder)).toEqual(['deps/lib.so.2', 'deps/include/c_api.h']);
  expect(readFileSync(join(folder, 'deps/lib.so.2'), 'utf8')).toBe('library');
  expect(readFileSync(join(folder, 'deps/include/c_api.h'), 'utf8')).toBe('header');
  expect(readdirSync(folder).sort()).toEqual(['a.whl', 'deps']);
});

prop.prop([
  fc.array(fc.record({ content: fc.uint8Array({ maxLength: 3000 }), stored: fc.boolean() }), { maxLength: 12 }),
  fc.string({ maxLength: 100 }),
])('unpacks every byte, whatever comment ends the archive', async (contents, comment) => {
  const folder = mkdtempSync(join(tmpdir(), 'wpo-zip-'));
  try {
    const members = contents.map((member, i) => ({ ...member, name: `folder-${i % 3}/${i}` }));
    const path = archive(folder, makeZip(members, comment));
    expect(await unzip(path, (name) => name, folder)).toEqual(members.map(({ name }) => name));
    for (const { name, content } of members) expect(new Uint8Array(readFileSync(join(folder, name)))).toEqual(content);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('keeps the executable bit', async () => {
  const folder = scratch();
  const members = [
    { name: 'bin/ptxas', content: bytes('program'), executable: true },
    { name: 'lib.so', content: bytes('library') },
  ];
  await unzip(archive(folder, makeZip(members)), (name) => name, folder);
  expect(statSync(join(folder, 'bin/ptxas')).mode & 0o100).toBe(0o100);
  expect(statSync(join(folder, 'lib.so')).mode & 0o100).toBe(0);
});

it('refuses an archive that was cut short', async () => {
  const folder = scratch();
  const whole = makeZip([{ name: 'a', content: bytes('aaaa') }]);
  const path = archive(folder, whole.subarray(0, whole.length - 10));
  await expect(unzip(path, (name) => name, folder)).rejects.toThrow(`${path} cannot be unpacked: `);
});

it('refuses a member whose size differs from the directory’s', async () => {
  const folder = scratch();
  const whole = makeZip([{ name: 'a', content: bytes('aaaa'), stored: true }]);
  // the directory's uncompressed size: 24 bytes into its only entry
  whole.writeUInt32LE(5, whole.indexOf('PK\x01\x02') + 24);
  await expect(unzip(archive(folder, whole), (name) => name, folder)).rejects.toThrow('size mismatch');
});

it.each(['../evil', 'a/../../evil', '/evil'])('refuses to write %s outside the folder', async (name) => {
  const folder = scratch();
  const path = archive(folder, makeZip([{ name, content: bytes('x') }]));
  await expect(unzip(path, (member) => member, join(folder, 'inside'))).rejects.toThrow(
    /cannot be unpacked: (invalid relative|absolute) path/,
  );
});
