export type { ExampleRow, InspectionFinding, InspectionReport, LengthBin, LengthOf, Spread } from './inspection-report';
export { inspectionPage, type LivePage, type PageData, reportPage } from './page';
export {
  type MetricsRow,
  type PairRow,
  type Quantiles,
  type Run,
  type RunReport,
  runReport,
  type SampledAnswers,
  type ScoredPair,
  type Setting,
  type TokenScore,
  type WeightPoint,
  type WeightReport,
} from './run-report';
