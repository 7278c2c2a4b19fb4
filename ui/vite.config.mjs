export default {
  // Where src/http/graphiql.rs serves it.
  base: '/graphiql/',
  worker: { format: 'es' },
  build: {
    target: 'es2022',
    chunkSizeWarningLimit: 9000,
    // No inlined scripts and no polyfill: the page's policy allows scripts from its own origin only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
};
