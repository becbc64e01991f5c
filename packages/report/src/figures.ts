export { type RunFigure, runFigures } from './page/images';
