import { h } from './dom';

const THEMES = ['light dark', 'light', 'dark'];
const THEME_NAMES = ['as the system', 'light', 'dark'];

let theme = 0;

/** A button that goes from the system's colours to light ones, to dark ones. */
export function themeButton(): HTMLElement {
  const button = h('button', { type: 'button' }, `Colours: ${THEME_NAMES[theme]}`);
  button.addEventListener('click', () => {
    theme = (theme + 1) % THEMES.length;
    document.documentElement.style.colorScheme = THEMES[theme]!;
    button.textContent = `Colours: ${THEME_NAMES[theme]}`;
  });
  return button;
}
