const browser = Object.fromEntries(
  [
    'AbortController', 'AbortSignal', 'BroadcastChannel', 'clearInterval', 'clearTimeout', 'console',
    'DOMException', 'IDBKeyRange', 'indexedDB', 'localStorage', 'Response', 'setInterval', 'setTimeout',
    'TextDecoderStream', 'URLSearchParams',
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
