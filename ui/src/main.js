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
async function initialHeaders() {
  const answer = await fetch(`${import.meta.env.BASE_URL}headers.json`);
  const headers = answer.ok ? await answer.json() : { authorization: 'Bearer ' };
  return JSON.stringify(headers, null, 2);
}

const headers = await initialHeaders();

createRoot(document.getElementById('graphiql')).render(
  createElement(GraphiQL, {
    fetcher: createGraphiQLFetcher({ url }),
    plugins: [HISTORY_PLUGIN, explorerPlugin()],
    defaultEditorToolsVisibility: 'headers',
    defaultTabs: examples.map((example) => ({ headers, ...example })),
    // For tabs that are opened later, or come back from the last visit: headers are never stored, they hold a secret.
    initialHeaders: headers,
    defaultHeaders: headers,
    shouldPersistHeaders: false,
  }),
);
