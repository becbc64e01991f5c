// Run before each test file by `npm run test:sanitize`: the tests use the native operations that are built with sanitizers.
import '@wpo/tensorflow';
import { useNative } from '../../src/kernels/native';
import { loadKernels } from '../gpu/addons';

useNative({ device: 'cpu', operations: loadKernels().operations });
