// Tokens by `jose`, one for each algorithm, with the keys to check them. CLAIMS is their payload, HEADER what else their
// header says.
import * as jose from 'jose';

const claims = JSON.parse(process.env.CLAIMS);
const header = JSON.parse(process.env.HEADER);
const minted = [];
for (const algorithm of ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA', 'Ed25519']) {
  const { publicKey, privateKey } = await jose.generateKeyPair(algorithm, { extractable: true });
  const token = await new jose.SignJWT(claims).setProtectedHeader({ alg: algorithm, kid: algorithm, ...header }).sign(privateKey);
  minted.push({ algorithm, jwk: await jose.exportJWK(publicKey), pem: await jose.exportSPKI(publicKey), token });
}
for (const [algorithm, length] of [['HS256', 32], ['HS384', 48], ['HS512', 64]]) {
  const secret = Buffer.from(crypto.getRandomValues(new Uint8Array(length))).toString('base64url');
  const token = await new jose.SignJWT(claims)
    .setProtectedHeader({ alg: algorithm, kid: algorithm, ...header })
    .sign(new TextEncoder().encode(secret));
  minted.push({ algorithm, secret, token });
}
console.log(JSON.stringify(minted));
