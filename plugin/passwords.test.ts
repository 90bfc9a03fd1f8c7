import {Buffer} from 'node:buffer';
import test from 'ava';
import {hashPassword, isHash, Passwords} from './passwords.ts';

test('a password is verified against its hash, which is another one each time', async t => {
	const [one, two] = [await hashPassword('correct horse'), await hashPassword('correct horse')];
	t.regex(one, /^\$scrypt\$ln=14,r=8,p=1\$[A-Za-z\d+/]{22}\$[A-Za-z\d+/]{43}$/);
	t.not(one, two);
	const passwords = new Passwords({one, two});
	t.true(await passwords.verify('one', 'correct horse'));
	t.true(await passwords.verify('one', 'correct horse'));
	t.true(await passwords.verify('two', 'correct horse'));
	t.false(await passwords.verify('one', 'correct hors'));
	t.false(await passwords.verify('three', 'correct horse'));
});

test('a hash made elsewhere is understood', async t => {
	// The second vector of RFC 7914, section 12.
	const salt = Buffer.from('NaCl').toString('base64').replaceAll('=', '');
	const hash = Buffer.from('fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640', 'hex').toString('base64').replaceAll('=', '');
	const passwords = new Passwords({alice: `$scrypt$ln=10,r=8,p=16$${salt}$${hash}`});
	t.true(await passwords.verify('alice', 'password'));
	t.false(await passwords.verify('alice', 'Password'));
});

test('nothing, and what is no string, cannot be a password', async t => {
	for (const password of ['', undefined, 5, {}]) {
		await t.throwsAsync(hashPassword(password as string), {instanceOf: TypeError, message: 'Expected `password` to be a string that is not empty.'}); // eslint-disable-line no-await-in-loop
	}
});

test('a hash is not a password', async t => {
	const hash = await hashPassword('secret');
	t.false(await new Passwords({alice: hash}).verify('alice', hash));
});

test('names that every object has are no users', async t => {
	const passwords = new Passwords({alice: 'a'});
	for (const name of ['__proto__', 'constructor', 'toString', '']) {
		t.false(await passwords.verify(name, '')); // eslint-disable-line no-await-in-loop
	}
});

for (const text of ['', 'secret', '$scrypt$', '$scrypt$ln=14,r=8,p=1$$', '$scrypt$ln=30,r=8,p=1$c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAA', '$argon2id$v=19$m=1,t=1,p=1$c2FsdA$AAAA']) {
	test(`${JSON.stringify(text)} is no hash`, t => {
		t.false(isHash(text));
	});
}
