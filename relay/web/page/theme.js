// Light, dark, or as the system has it; remembered by this browser.

const THEMES = ["system", "light", "dark"];
const REMEMBERED = "relay-theme";

function remembered() {
  try {
    return localStorage.getItem(REMEMBERED);
  } catch {
    return null; // A browser that keeps nothing.
  }
}

function remember(theme) {
  try {
    localStorage.setItem(REMEMBERED, theme);
  } catch {
    // It holds until the page is left.
  }
}

function wear(theme, button) {
  document.documentElement.dataset.theme = theme;
  button.textContent = `Theme: ${theme}`;
}

export function beginTheme(button) {
  const known = remembered();
  let theme = THEMES.includes(known) ? known : "system";
  wear(theme, button);
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    wear(theme, button);
    remember(theme);
  });
}
