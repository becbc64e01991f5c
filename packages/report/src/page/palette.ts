/** The colours of pages and figures: in light pages, in dark pages. Styles and charts name them as `var(--name)`. */
const PALETTE = {
  page: ['#f6f7f9', '#101317'],
  surface: ['#ffffff', '#191d23'],
  text: ['#1a1f26', '#e7eaee'],
  quiet: ['#59636f', '#9aa5b1'],
  line: ['#dfe3e8', '#2c333c'],
  accent: ['#1d5fc4', '#7db3ff'],
  warn: ['#9a4a00', '#ffb366'],
  s1: ['#1f66cc', '#6aa8ff'],
  s2: ['#c9501c', '#ff9a62'],
  s3: ['#1d8a5b', '#4fd19b'],
  s4: ['#7b4bc4', '#b99aff'],
  s5: ['#b3306f', '#ff85b8'],
  s6: ['#7a6a00', '#d8c53a'],
  low: ['#ff8a4c', '#c2510f'],
  high: ['#6aa8ff', '#1f66cc'],
} as const;

const NAMES = Object.keys(PALETTE) as (keyof typeof PALETTE)[];

/** A style that defines the colours for a page, by its colour scheme. */
export const paletteStyle = `:root{${NAMES.map((name) => `--${name}:light-dark(${PALETTE[name].join()})`).join(';')}}`;

/** Writes the light colours in the place of their names, for an image, which has no style of a page. */
export const withLightColors = (svg: string): string =>
  NAMES.reduce((text, name) => text.replaceAll(`var(--${name})`, PALETTE[name][0]), svg);
