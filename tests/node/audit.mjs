// The audits of GraphQL over HTTP, all of them, MUST, SHOULD and MAY alike.
import { serverAudits } from 'graphql-http';

const audits = serverAudits({
  url: process.env.URL_UNDER_TEST,
  fetchFn: (url, init) =>
    fetch(url, { ...init, headers: { ...init?.headers, authorization: process.env.AUTHORIZATION } }),
});

let passed = 0;
for (const audit of audits) {
  const result = await audit.fn();
  if (result.status === 'ok') {
    passed += 1;
  } else {
    console.log(`${audit.id} ${audit.name}: ${result.reason}`);
  }
}
console.log(`${passed} of ${audits.length}`);
process.exit(passed === audits.length ? 0 : 1);
