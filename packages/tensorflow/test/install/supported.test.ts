import { expect, test } from 'vitest';
import { describeError } from '../../install/errors.mjs';
import { checkSystem, thisSystem } from '../../install/supported.mjs';

const refusal = (platform: string, arch: string, glibc?: string) => {
  try {
    checkSystem({ platform, arch, glibc });
  } catch (error) {
    return describeError(error).split('\n');
  }
  return undefined;
};

const expected = 'TensorFlow cannot be installed here: expected Linux with glibc 2.27 or later on x64 or arm64, found ';

test.each([
  ['darwin', 'arm64', undefined, 'macOS (arm64)', /Linux container/],
  ['win32', 'x64', undefined, 'Windows (x64)', /WSL 2/],
  ['linux', 'x64', undefined, 'musl, the C library of Alpine Linux', /node:22-bookworm in place of node:22-alpine/],
  ['linux', 'arm64', '2.26', 'glibc 2.26', /Ubuntu 18\.04/],
  ['linux', 'ia32', '2.36', 'linux on ia32', /use such a machine/],
  ['freebsd', 'x64', undefined, 'freebsd on x64', /use such a machine/],
])(
  '%s on %s with glibc %s is refused before the download, with what works there',
  (platform, arch, glibc, found, hint) => {
    const [first, second, ...rest] = refusal(platform, arch, glibc)!;
    expect(first).toBe(`${expected}${found}.`);
    expect(second).toMatch(hint);
    expect(rest).toHaveLength(2);
    for (const line of rest) expect(line).toMatch(/^ {2}- works here without TensorFlow: /);
  },
);

test.each([
  ['x64', '2.27'],
  ['arm64', '2.36'],
  ['x64', '3.0'],
])('Linux on %s with glibc %s is accepted', (arch, glibc) => {
  expect(refusal('linux', arch, glibc)).toBeUndefined();
});

test('this system is found', () => {
  const { platform, arch } = thisSystem();
  expect([platform, arch]).toEqual([process.platform, process.arch]);
});
