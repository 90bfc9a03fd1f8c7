import test from 'ava';
import {canonical, parseBlock, specialRange, withEmbedded} from './addresses.ts';

const is = test.macro({
	exec(t, address: string, range: string | undefined) {
		t.is(specialRange(address), range as ReturnType<typeof specialRange>);
	},
	title: (_title, address: string, range: string | undefined) => `${address} is ${range ?? 'public'}`,
});

for (const [range, addresses] of Object.entries({
	loopback: '127.0.0.1 127.255.255.255 ::1 0:0:0:0:0:0:0:1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::127.0.0.1 64:ff9b::127.0.0.1 2002:7f00:1:: 2001:0:808:808::80ff:fffe',
	unspecified: '0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0 64:ff9b::',
	private: '10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.1 fc00:: fdff::1 fec0::1 ::ffff:10.1.2.3 ::ffff:0:10.1.2.3 64:ff9b::10.1.2.3 64:ff9b:1::1 64:ff9b:1:ffff::8.8.8.8 2002:a01:203::1 2001:0:a01:203::f7f7:f7f7 2001:0:808:808::f5fe:fdfc 2606::5efe:10.1.2.3 2606::200:5efe:10.1.2.3',
	'link-local': '169.254.0.1 169.254.169.253 fe80:: febf::1 fe80::1%eth0 ::ffff:169.254.1.1',
	metadata: '169.254.169.254 100.100.100.200 192.0.0.192 168.63.129.16 fd00:ec2::254 fd20:ce::254 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::',
	CGNAT: '100.64.0.0 100.127.255.255',
	multicast: '224.0.0.1 239.255.255.255 ff02::1 ff00::',
	broadcast: '255.255.255.255',
	documentation: '192.0.2.1 198.51.100.1 203.0.113.255 2001:db8::1 3fff::1',
	benchmarking: '198.18.0.0 198.19.255.255 2001:2::1',
	reserved: '192.0.0.1 192.88.99.1 240.0.0.1 100::1 2001:10::1 2001:20::1 5f00::1 4000::1 e000::1 1::1 localhost 1.2.3 2130706433',
	public: '8.8.8.8 1.1.1.1 9.255.255.255 11.0.0.0 172.15.255.255 172.32.0.0 100.63.255.255 100.128.0.0 169.253.255.255 169.255.0.0 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255 168.63.129.17 2606:4700:4700::1111 2001:4860:4860::8888 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1 2001:0:808:808::f7f7:f7f7',
})) {
	for (const address of addresses.split(' ')) {
		test(is, address, range === 'public' ? undefined : range);
	}
}

test('the IPv4 addresses inside an IPv6 address are found', t => {
	t.deepEqual(withEmbedded('10.0.0.1'), ['10.0.0.1']);
	t.deepEqual(withEmbedded('2606::1'), ['2606::1']);
	t.deepEqual(withEmbedded('::ffff:10.0.0.1'), ['::ffff:10.0.0.1', '10.0.0.1']);
	t.deepEqual(withEmbedded('2001:0:808:808::f7f7:f7f6'), ['2001:0:808:808::f7f7:f7f6', '8.8.8.8', '8.8.8.9']);
});

test('two spellings of one address have one canonical form', t => {
	t.is(canonical('::1'), canonical('0:0:0:0:0:0:0:1'));
	t.is(canonical('::ffff:127.0.0.1'), '127.0.0.1');
	t.is(canonical('2001:DB8::1'), canonical('2001:db8:0::0.0.0.1'));
	t.not(canonical('::1'), canonical('::'));
});

test('a block has the addresses that share its prefix, also inside IPv6 ones', t => {
	const block = parseBlock('10.1.0.0/16')!;
	t.true(block.has('10.1.255.255'));
	t.false(block.has('10.2.0.0'));
	t.true(block.has('::ffff:10.1.2.3'));
	t.false(block.has('64:ff9b::10.1.2.3'));
	t.false(block.has('2002:a01:203::1'));
	t.true(block.touches('64:ff9b::10.1.2.3'));
	t.true(block.covers('64:ff9b::10.1.2.3'));
	t.true(block.touches('2001:0:a01:203::5601:5601'));
	t.false(block.covers('2001:0:a01:203::5601:5601'), 'its client is 169.254.169.254');
	t.false(parseBlock('2000::/3')!.covers('2002:7f00:1::'));
	t.true(parseBlock('2000::/3')!.covers('2002:808:808::'));
	t.false(block.has('2606::1'));
	t.true(parseBlock('fd00::/8')!.has('fdab::1'));
	t.false(parseBlock('fd00::/8')!.has('fcab::1'));
	t.false(parseBlock('fd00::/8')!.has('10.0.0.1'));
	t.true(parseBlock('0.0.0.0/0')!.isEverything);
	t.true(parseBlock('10.0.0.1/32')!.has('10.0.0.1'));
});

for (const notation of ['10.0.0.0', '10.0.0.0/33', '10.0.0.0/', '10.0.0/8', '::/129', 'fe80::%eth0/64', 'example.com/8', '10.0.0.0/8/8', '10.0.0.0/-1', '']) {
	test(`${JSON.stringify(notation)} is no block`, t => {
		t.is(parseBlock(notation), undefined);
	});
}
