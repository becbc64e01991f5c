import { gatherFacts } from './doctor/facts';
import { type DoctorReport, judge } from './doctor/report';

export { type DoctorCheck, type DoctorReport, formatDoctor } from './doctor/report';

/**
 * Looks at Node, TensorFlow, devices, threads, memory and disk, and says what is wrong with a mend for each. Works where
 * TensorFlow is missing or broken: it is loaded in a process of its own, which takes seconds.
 */
export async function doctor(): Promise<DoctorReport> {
  return judge(gatherFacts());
}
