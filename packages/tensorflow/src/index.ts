import { loadTensorflow } from './load';

export { type DoctorCheck, type DoctorReport, doctor, formatDoctor } from './doctor';
export { type SummaryWriter, summaryWriter } from './summary-writer';

const tfjs = loadTensorflow();

/** The version of the TensorFlow library underneath, e.g. `2.21.0`. */
export const tensorflowVersion: string = (tfjs.backend() as unknown as { binding: { TF_Version: string } }).binding
  .TF_Version;
