import '@wpo/tensorflow';
import { nativeOptimizer } from '../src/kernels/optimizer';
import { testSharding } from './sharding-properties';

testSharding(
  () => nativeOptimizer,
  [
    { optim: 'AdamW', held: 'float32' },
    { optim: 'AdamW', held: 'exact' },
    { optim: 'AdamW with 8-bit moments', held: 'float32' },
    { optim: 'AdamW with 8-bit moments', held: 'exact' },
    { optim: 'Lion', held: 'exact' },
  ],
);
