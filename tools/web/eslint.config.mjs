const browser = Object.fromEntries(
  [
    'AbortController', 'AbortSignal', 'BroadcastChannel', 'clearInterval', 'clearTimeout', 'console',
    'DOMException', 'IDBKeyRange', 'indexedDB', 'localStorage', 'Response', 'setInterval', 'setTimeout',
    'TextDecoderStream', 'URLSearchParams',
  ].map((name) => [name, 'readonly']),
);

export default [
  {
    files: ['**/*.js'],
    languageOptions: { ecmaVersion: 2022, sourceType: 'module', globals: browser },
    rules: {
      complexity: ['error', 15],
      'max-lines': ['error', { max: 500 }],
      'max-lines-per-function': ['error', { max: 60 }],
      'no-undef': 'error',
      'no-unused-vars': ['error', { ignoreRestSiblings: true, args: 'after-used', varsIgnorePattern: '^_$' }],
    },
  },
];
