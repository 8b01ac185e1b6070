const browser = Object.fromEntries(
  [
    'AbortController', 'AbortSignal', 'atob', 'Blob', 'BroadcastChannel', 'clearInterval', 'clearTimeout',
    'console', 'crypto', 'document', 'DOMException', 'fetch', 'File', 'Headers', 'history', 'HTMLButtonElement',
    'HTMLDialogElement', 'HTMLElement', 'HTMLFormElement', 'HTMLInputElement', 'HTMLOListElement',
    'HTMLProgressElement', 'HTMLSelectElement', 'IDBKeyRange', 'indexedDB', 'localStorage', 'location', 'Response',
    'sessionStorage', 'setInterval', 'setTimeout', 'TextDecoder', 'TextDecoderStream', 'URL', 'URLSearchParams',
    'window', 'XMLHttpRequest',
  ].map((name) => [name, 'readonly']),
);

/** ESLint counts the lines of files and functions, but not of classes. */
const classLines = {
  create: (context) => ({
    ClassDeclaration(node) {
      const lines = node.loc.end.line - node.loc.start.line + 1;
      if (lines > 300) context.report({ node, message: `This class has ${lines} lines, more than 300.` });
    },
  }),
};

export default [
  { ignores: ['DatabaseInventoryService.*', 'secret-rules.js', 'sample-event.js'] }, // made by commands
  {
    files: ['**/*.js'],
    languageOptions: { ecmaVersion: 2022, sourceType: 'module', globals: browser },
    plugins: { client: { rules: { 'max-class-lines': classLines } } },
    rules: {
      'client/max-class-lines': 'error',
      complexity: ['error', 15],
      'max-lines': ['error', { max: 500 }],
      'max-lines-per-function': ['error', { max: 60 }],
      'no-undef': 'error',
      'no-unused-vars': ['error', { ignoreRestSiblings: true, args: 'after-used', varsIgnorePattern: '^_$' }],
    },
  },
];
