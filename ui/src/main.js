import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import '@graphiql/plugin-explorer/style.css';
import './style.css';

import { explorerPlugin } from '@graphiql/plugin-explorer';
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { GraphiQL, HISTORY_PLUGIN } from 'graphiql';
import { createElement } from 'react';
import { createRoot } from 'react-dom/client';

import { examples } from './examples.js';

const url = new URL('/graphql', location.origin).href;

// In development the service hands its demo token to pages that it serves itself; in production there is none.
async function demoHeaders() {
  const answer = await fetch(`${import.meta.env.BASE_URL}headers.json`);
  return answer.ok ? answer.json() : { authorization: 'Bearer ' };
}

const demo = await demoHeaders();
const headers = JSON.stringify(demo, null, 2);
const send = createGraphiQLFetcher({ url });

// The schema is asked for before the header editor is there to be read.
function fetcher(parameters, options) {
  const early = parameters.operationName === 'IntrospectionQuery' && !Object.keys(options?.headers ?? {}).length;
  return send(parameters, early ? { ...options, headers: demo } : options);
}

createRoot(document.getElementById('graphiql')).render(
  createElement(GraphiQL, {
    fetcher,
    plugins: [HISTORY_PLUGIN, explorerPlugin()],
    defaultEditorToolsVisibility: 'headers',
    defaultTabs: examples.map((example) => ({ headers, ...example })),
    // For tabs that are opened later, or come back from the last visit: headers are never stored, they hold a secret.
    initialHeaders: headers,
    defaultHeaders: headers,
    shouldPersistHeaders: false,
  }),
);
