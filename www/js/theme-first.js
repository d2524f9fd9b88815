// A classic script in <head>: sets the reader's theme before the first paint, so that a dark page never flashes white.
// The rest of the theme lives in theme.js.
try {
  const chosen = localStorage.getItem('llmperforacle.theme');
  if (chosen === 'dark' || chosen === 'light') document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is switched off: the system's theme it is.
}
