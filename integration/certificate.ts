import {execFile} from 'node:child_process';
import {promisify} from 'node:util';

/** A certificate of our own for `localhost` and the loopback addresses, made now and kept in memory only. */
export async function selfSigned(): Promise<{readonly key: string; readonly cert: string}> {
	const {stdout} = await promisify(execFile)('openssl', [
		'req',
		'-x509',
		'-newkey',
		'ec',
		'-pkeyopt',
		'ec_paramgen_curve:prime256v1',
		'-nodes',
		'-days',
		'2',
		'-subj',
		'/CN=localhost',
		'-addext',
		'subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1',
		'-keyout',
		'-',
		'-out',
		'-',
	]);
	const block = (kind: string) => new RegExp(`-----BEGIN ${kind}-----.*-----END ${kind}-----`, 'su').exec(stdout)![0];
	return {key: block('PRIVATE KEY'), cert: block('CERTIFICATE')};
}
