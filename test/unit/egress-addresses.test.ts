import { describe, expect, it } from 'vitest';
import { everyFace, isForbidden } from '../../src/egress/address.ts';
import { parseAllowlist, permits } from '../../src/egress/allowlist.ts';
import { OwnPorts } from '../../src/egress/own-ports.ts';
import {
  disagreements,
  forbiddenV4,
  forbiddenV6,
  v4Ranges,
  v4Text,
  v6Ranges,
  v6Texts,
} from '../harness/address-oracle.ts';

describe('An address', () => {
  it('is forbidden from the first to the last of every range, and no further', () => {
    for (const { first, last } of v4Ranges)
      for (const value of [first, last, first - 1n, last + 1n])
        if (value >= 0n && value < 1n << 32n)
          expect(isForbidden(v4Text(value)), v4Text(value)).toBe(forbiddenV4(value));
    for (const { first, last } of v6Ranges)
      for (const value of [first, last, first - 1n, last + 1n])
        if (value >= 0n && value < 1n << 128n)
          for (const text of v6Texts(value)) expect(isForbidden(text), text).toBe(forbiddenV6(value));
  });

  it('is forbidden exactly where integer arithmetic says so', () => {
    expect(disagreements(100_000)).toEqual([]);
  });

  it('is forbidden in every spelling that a URL takes', () => {
    const spellings = [
      ...['127.1', '0x7f.1', '0x7f000001', '2130706433', '017700000001', '0177.0.0.1', '127.0.0.1.', '127.0.1'],
      ...['１２７.0.0.1', '①②⑦.⓪.⓪.①', '127。0。0。1', '%31%32%37.0.0.1', '0', '0x0', '0.0.0.0', '10.1', '0xa9fea9fe'],
      ...['[::]', '[::1]', '[0:0:0:0:0:0:0:1]', '[::127.0.0.1]', '[::7f00:1]', '[::ffff:127.0.0.1]', '[::FFFF:7F00:1]'],
      ...[
        '[0:0:0:0:0:ffff:a9fe:a9fe]',
        '[64:ff9b::127.0.0.1]',
        '[64:ff9b:1::1]',
        '[2002:7f00:1::]',
        '[2001:0:7f00:1::]',
      ],
      ...['[2001::80ff:fffe]', '[fc00::1]', '[fe80::1]', '[fec0::1]', '[ff02::1]', '[100::1]', '[2001:db8::1]'],
      ...['[3fff::1]', '[5f00::1]', '[::8.8.8.8]', '[64:ff9b::8.8.8.8]', '[2002:808:808::]'],
    ];
    for (const spelling of spellings) {
      const host = new URL(`http://${spelling}/`).hostname.replace(/^\[|\]$/g, '');
      expect(isForbidden(host), `${spelling} → ${host}`).toBe(true);
    }
    for (const reachable of ['8.8.8.8', '::ffff:8.8.8.8', '2606:4700::1111', '2001:4860:4860::8888'])
      expect(isForbidden(reachable), reachable).toBe(false);
  });

  it('is forbidden where it is none, or has a zone', () => {
    for (const text of [
      '',
      'localhost',
      '127.1',
      '1.2.3',
      '1.2.3.4.5',
      '8.8.8.8%eth0',
      'fe80::1%eth0',
      '2606:4700::1%1',
      '[::1]',
      ':',
    ])
      expect(isForbidden(text), text).toBe(true);
  });

  it('has a face for each IPv4 address that it carries', () => {
    const facesOf = (address: string) => {
      const faces: string[] = [];
      everyFace(address, (face) => faces.push(face) > 0);
      return faces;
    };
    expect(facesOf('::ffff:10.0.0.1')).toEqual(['10.0.0.1']);
    expect(facesOf('64:ff9b::10.0.0.1')).toEqual(['64:ff9b::a00:1', '10.0.0.1']);
    expect(facesOf('2002:0a00:0001::1')).toEqual(['2002:a00:1::1', '10.0.0.1']);
    // The example of RFC 4380, section 5.2.9, in other numbers: the client's bits are inverted.
    expect(facesOf('2001:0:4136:e378:8000:63bf:3fff:fdd2')).toEqual([
      '2001:0:4136:e378:8000:63bf:3fff:fdd2',
      '65.54.227.120',
      '192.0.2.45',
    ]);
    expect(facesOf('::10.0.0.1')).toEqual(['::a00:1', '10.0.0.1']);
    expect(facesOf('::1')).toEqual(['::1']);
    expect(facesOf('2606:4700::1111')).toEqual(['2606:4700::1111']);
  });
});

describe('What an operator allows', () => {
  it('is addresses and ranges', () => {
    const allowed = parseAllowlist(['10.0.0.0/8', '127.0.0.1', '[::1]', 'fc00::/7']);
    for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '127.0.0.1', '::1', 'fd00::1', '8.8.8.8'])
      expect(permits(allowed, 'any.test', address), address).toBe(true);
    for (const address of ['127.0.0.2', '192.168.0.1', 'fe80::1', '::10.1.2.3', '64:ff9b::10.1.2.3'])
      expect(permits(allowed, 'any.test', address), address).toBe(false);
  });

  it('is IPv4 where IPv4 is written, and what NAT64 carries only where that is allowed, too', () => {
    expect(permits(parseAllowlist(['::/0']), 'any.test', '127.0.0.1')).toBe(false);
    expect(permits(parseAllowlist(['0.0.0.0/0']), 'any.test', '::1')).toBe(false);
    const nat64 = parseAllowlist(['64:ff9b::/96']);
    expect(permits(nat64, 'any.test', '64:ff9b::8.8.8.8')).toBe(true);
    expect(permits(nat64, 'any.test', '64:ff9b::127.0.0.1')).toBe(false);
    const both = parseAllowlist(['64:ff9b::/96', '127.0.0.0/8']);
    expect(permits(both, 'any.test', '64:ff9b::127.0.0.1')).toBe(true);
  });

  it('is names, which may resolve to anything', () => {
    const allowed = parseAllowlist(['Localhost', '*.internal.test', 'bücher.test']);
    for (const host of ['localhost', 'a.internal.test', 'a.b.internal.test', 'xn--bcher-kva.test'])
      expect(permits(allowed, host, '127.0.0.1'), host).toBe(true);
    for (const host of ['localhost.', 'xlocalhost', 'internal.test', 'xinternal.test', 'a.internal.test.evil', ''])
      expect(permits(allowed, host, '127.0.0.1'), host).toBe(false);
  });

  it('is told what is wrong with it', () => {
    const faulty = [
      ...[
        '10.0.0/8',
        '10.0.0.0/33',
        '10.0.0.0/',
        '::1/129',
        '::ffff:10.0.0.0/104',
        '127.1',
        '2130706433',
        'fe80::1%eth0',
      ],
      ...['', '*', '*.', 'a*b', 'http://x', 'x:80', 'user@x', 'a b', 'x/8', '*.10.0.0.1', '10.0.0.0/-1', '[::1'],
    ];
    for (const item of faulty) expect(() => parseAllowlist(['localhost', item]), item).toThrow(`"${item}"`);
  });
});

describe('Our own ports', () => {
  it('are ours on every address of this machine', () => {
    const own = new OwnPorts();
    expect(own.includes('127.0.0.1', 8080)).toBe(false);
    own.add([8080]);
    for (const address of ['127.0.0.1', '127.9.9.9', '0.0.0.0', '::1', '::', '::ffff:127.0.0.1', '64:ff9b::127.0.0.1'])
      expect(own.includes(address, 8080), address).toBe(true);
    expect(own.includes('127.0.0.1', 8081)).toBe(false);
    expect(own.includes('8.8.8.8', 8080)).toBe(false);
  });
});
