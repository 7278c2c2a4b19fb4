// An OpenID provider: `oidc-provider`, with a person who logs in and consents by itself. It prints its address; then
//   GET /test/token?alg=ES256&extra={"tenant":"acme"}     goes through the code flow with PKCE and gives what came of it
//   GET /test/rotate                                     signs with new keys from now on, and publishes only those
//   GET /test/fetches                                    how often the key set was asked for
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import * as jose from 'jose';
import { Provider } from 'oidc-provider';

const REDIRECT = 'http://127.0.0.1/cb';
const AUDIENCE = 'patchbay';
let issuer;
let provider;
let fetches = 0;

async function make() {
  const keys = [];
  for (const [alg, options] of [['RS256', {}], ['ES256', {}]]) {
    const { privateKey } = await jose.generateKeyPair(alg, { extractable: true, ...options });
    const jwk = await jose.exportJWK(privateKey);
    keys.push({ ...jwk, alg, use: 'sig', kid: `${alg}-${randomUUID()}` });
  }
  provider = new Provider(issuer, {
    clients: [
      { client_id: 'web', redirect_uris: [REDIRECT], token_endpoint_auth_method: 'none', application_type: 'native' },
    ],
    jwks: { keys },
    cookies: { keys: [randomBytes(16).toString('hex')] },
    scopes: ['openid', 'email'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    pkce: { required: () => true },
    findAccount: async (_, sub) => ({
      accountId: sub,
      claims: async () => ({ sub, email: `${sub}@acme.example`, email_verified: true }),
    }),
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    // The resource says what a test wants of the token.
    extraTokenClaims: async (_, token) =>
      token.resourceServer && JSON.parse(new URL(token.resourceServer.identifier()).searchParams.get('extra') ?? '{}'),
    features: {
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: async (_, resource) => ({
          scope: 'use',
          audience: AUDIENCE,
          accessTokenTTL: 900,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: new URL(resource).searchParams.get('alg') } },
        }),
      },
    },
  });
  provider.on('server_error', (_, error) => console.error(error));
}

/** Logs in as `sub` and consents to everything. */
async function interact(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (details.prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: 'ann' } });
  }
  const grant = new provider.Grant({ accountId: details.session.accountId, clientId: details.params.client_id });
  grant.addOIDCScope('openid email');
  grant.addResourceScope(details.params.resource, 'use');
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

/** The code flow, as a browser and a client go through it. */
async function flow(resource) {
  const verifier = randomBytes(32).toString('base64url');
  let address = new URL(`${issuer}/auth`);
  address.search = new URLSearchParams({
    client_id: 'web',
    response_type: 'code',
    redirect_uri: REDIRECT,
    scope: 'openid email use',
    resource,
    nonce: randomUUID(),
    state: 'state',
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const cookies = new Map();
  for (let hops = 0; !address.href.startsWith(REDIRECT); hops += 1) {
    if (hops > 20) throw new Error(`too many redirects: ${address}`);
    const headers = { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') };
    const answer = await fetch(address, { redirect: 'manual', headers });
    for (const cookie of answer.headers.getSetCookie()) {
      const [name, value] = cookie.split(';')[0].split('=');
      if (value) cookies.set(name, value);
      else cookies.delete(name);
    }
    const next = answer.headers.get('location');
    if (!next) throw new Error(`${address}: ${answer.status} ${await answer.text()}`);
    address = new URL(next, address);
  }
  const body = new URLSearchParams({
    grant_type: 'authorization_code',
    client_id: 'web',
    redirect_uri: REDIRECT,
    code: address.searchParams.get('code'),
    code_verifier: verifier,
    resource,
  });
  const answer = await fetch(`${issuer}/token`, { method: 'POST', body });
  return answer.json();
}

const server = createServer(async (request, response) => {
  try {
    const url = new URL(request.url, issuer);
    if (url.pathname === '/jwks') fetches += 1;
    if (url.pathname.startsWith('/interaction/')) return await interact(request, response);
    if (!url.pathname.startsWith('/test/')) return provider.callback()(request, response);
    let answer = {};
    if (url.pathname === '/test/rotate') await make();
    if (url.pathname === '/test/token') answer = await flow(`https://patchbay.example/?${url.searchParams}`);
    if (url.pathname === '/test/fetches') answer = { fetches };
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(answer));
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    response.end(String(error));
  }
});
server.listen(0, '127.0.0.1', async () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  await make();
  console.log(issuer);
});
// It ends with whoever started it.
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
