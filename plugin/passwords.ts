import {Buffer} from 'node:buffer';
import {createHmac, randomBytes, scrypt, timingSafeEqual, type ScryptOptions} from 'node:crypto';
import {promisify} from 'node:util';

/**
Names, and the password of each, or better what `hashPassword()` has made of it.
*/
export type Users = Readonly<Record<string, string>> | ReadonlyMap<string, string>;

/**
Makes of a password what can be kept in a file: `$scrypt$ln=14,r=8,p=1$salt$hash`, with salt and hash in base64 without padding. Takes tens of milliseconds and 16 MiB, on purpose.

@throws {TypeError} It is no string, or empty.
@see https://www.rfc-editor.org/rfc/rfc7914 scrypt
@see https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
*/
export async function hashPassword(password: string): Promise<string> {
	if (typeof password !== 'string' || password === '') {
		throw new TypeError('Expected `password` to be a string that is not empty.'); // Which it may nearly be, so it is not quoted.
	}

	const salt = randomBytes(16);
	const hash = await derive(password, salt, 32, cost);
	return `$scrypt$ln=${Math.log2(cost.N)},r=${cost.r},p=${cost.p}$${unpadded(salt)}$${unpadded(hash)}`;
}

export function isHash(text: string): boolean {
	return parseHash(text) !== undefined;
}

/**
Tells whether a password is that of a user, taking the same time for users that there are and those that there are not.
*/
export class Passwords {
	readonly #users: ReadonlyMap<string, string>;

	// Scrypt takes tens of milliseconds of a core, which is meant for guessers. Who has been right once need not pay it for each tunnel.
	readonly #known = new Map<string, Uint8Array>();
	readonly #key = randomBytes(32);
	readonly #substitute: string;

	constructor(users: Users) {
		this.#users = new Map(users instanceof Map ? users as ReadonlyMap<string, string> : Object.entries(users));
		// As costly as the others, so that the time does not tell who is a user.
		this.#substitute = [...this.#users.values()].find(secret => isHash(secret)) ?? '';
	}

	async verify(name: string, password: string): Promise<boolean> {
		const digest = this.#digest(password);
		const known = this.#known.get(name);
		if (known && timingSafeEqual(known, digest)) {
			return true;
		}

		const secret = this.#users.get(name);
		const hash = parseHash(secret ?? this.#substitute);
		const isRight = hash
			? timingSafeEqual(await derive(password, hash.salt, hash.hash.length, hash.options), hash.hash)
			: timingSafeEqual(this.#digest(secret ?? ''), digest);
		if (isRight && secret !== undefined) {
			this.#known.set(name, digest); // At most one for each user there is.
			return true;
		}

		return false;
	}

	// Of one length, whatever was sent, which is what timingSafeEqual() asks for. The key keeps the digest of a password from meaning anything outside of this process.
	#digest(password: string): Uint8Array {
		return createHmac('sha256', this.#key).update(password).digest();
	}
}

type Hash = {
	readonly salt: Uint8Array;
	readonly hash: Uint8Array;
	readonly options: ScryptOptions;
};

function parseHash(text: string): Hash | undefined {
	const {groups} = /^\$scrypt\$ln=(?<ln>\d{1,2}),r=(?<r>\d{1,2}),p=(?<p>\d{1,2})\$(?<salt>[A-Za-z\d+/]+)\$(?<hash>[A-Za-z\d+/]{22,})$/.exec(text) ?? {};
	if (!groups) {
		return undefined;
	}

	const [ln, r, p] = [Number(groups.ln), Number(groups.r), Number(groups.p)];
	// What takes more than 256 MiB is a mistake, or an attack.
	return ln < 1 || ln > 20 || r < 1 || p < 1 || 128 * (2 ** ln) * r > maximumMemory ? undefined : {
		salt: Buffer.from(groups.salt!, 'base64'),
		hash: Buffer.from(groups.hash!, 'base64'),
		options: {N: 2 ** ln, r, p, maxmem: 2 * maximumMemory},
	};
}

async function derive(password: string, salt: Uint8Array, length: number, options: ScryptOptions): Promise<Uint8Array> {
	return promisify<string, Uint8Array, number, ScryptOptions, Uint8Array>(scrypt)(password.normalize('NFC'), salt, length, options);
}

function unpadded(bytes: Uint8Array): string {
	return Buffer.from(bytes).toString('base64').replaceAll('=', '');
}

const maximumMemory = 268_435_456;
const cost = {N: 16_384, r: 8, p: 1};
