// Opens GraphiQL as a developer would: looks at what is there, runs the first example, opens the explorer.
import { chromium } from 'playwright-core';

const origin = new URL(process.env.URL_UNDER_TEST).origin;
const browser = await chromium.launch({
  executablePath: process.env.BROWSER,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const problems = [];
try {
  const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
  page.on('request', (request) => {
    if (!request.url().startsWith(origin) && !request.url().startsWith('data:') && !request.url().startsWith('blob:')) {
      problems.push(`a request left the host: ${request.url()}`);
    }
  });
  page.on('console', (message) => {
    if (message.type() === 'error') problems.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`page: ${error}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI}`);
    });
  });
  await page.goto(process.env.URL_UNDER_TEST);
  await page.getByRole('button', { name: /execute/i }).first().waitFor({ timeout: 30_000 });

  // The examples are in tabs, and the token is in the headers.
  const tabs = await page.getByRole('tab').allTextContents();
  for (const name of ['Viewer', 'Configurations', 'Create', 'AuditLog', 'Connectors']) {
    if (!tabs.some((tab) => tab.includes(name))) problems.push(`there is no tab ${name}: ${tabs}`);
  }
  await page.waitForFunction(() => document.body.innerText.includes('Bearer'), null, { timeout: 15_000 });

  // The first example runs and answers.
  await page.getByRole('button', { name: /execute/i }).first().click();
  await page.waitForFunction(() => document.querySelector('.graphiql-response')?.innerText.includes('owner'), null, { timeout: 15_000 });

  // The schema is known: the documentation and the explorer show it.
  await page.getByRole('button', { name: /documentation explorer/i }).first().click();
  await page.waitForFunction(() => document.body.innerText.includes('Everything that may be'), null, { timeout: 15_000 }).catch(() => {});
  if (!(await page.locator('body').innerText()).includes('Query')) problems.push('the documentation is empty');
  await page.getByRole('button', { name: /GraphiQL explorer/i }).first().click();
  await page.getByText('personalConnectorConfigurations').first().waitFor({ timeout: 15_000 });

  await page.screenshot({ path: process.env.PICTURE });
} catch (error) {
  problems.push(String(error));
} finally {
  await browser.close();
}
problems.forEach((problem) => console.log(problem));
process.exit(problems.length === 0 ? 0 : 1);
