import type { Launch } from '@wpo/trainer/node';

/** How this process was started, if `mpirun` started it as one of several. The libraries are loaded only then. */
export async function launched(): Promise<Launch | undefined> {
  if (!Object.keys(process.env).some((name) => /^(OMPI_COMM_WORLD|PMI|PMIX)_RANK$/.test(name))) return undefined;
  const { mpiLaunch } = await import('@wpo/trainer/node');
  return mpiLaunch();
}
