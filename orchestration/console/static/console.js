// Light or dark as the reader's system has it: the theme's own switch is an attribute. Loaded before the first paint.
(function () {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.setAttribute("data-bs-theme", dark.matches ? "dark" : "light");
  dark.addEventListener("change", follow);
  follow();
})();
