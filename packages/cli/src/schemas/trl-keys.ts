import { absentReason } from './other-names';

// What becomes of the keys of TRL's and alignment-handbook's files that wpo does not have, or reads in its own way. The keys
// that both have are in trainSchema alone. trl.ts applies these tables, trl-page.ts writes docs/from-trl.md from them.

/** Keys that are read as other keys or values: what they become. trl.ts has a rule for each. */
export const MAPPED = {
  model_revision: 'part of `model_name_or_path`: `hf://org/name@revision`',
  torch_dtype: '`dtype`',
  dtype: 'the same. With `bfloat16`, trained weights need `master_weights`; TRL would round them to bfloat16',
  bf16: '`precision`: `true` is `bfloat16`, `false` is `float32`',
  dataset_name: '`train_file`, and with `eval_strategy` also `eval_file`',
  dataset_train_split: 'the same',
  dataset_test_split: 'the same',
  datasets:
    '`train_file`, a list of sources: `path`, `split`, and `fraction` as `share`. Rows of a source are drawn by the seed, not the first ones',
  test_split_size: '`eval_split`',
  dataset_mixer: '`train_file`, if each part is 1.0; with `do_eval` or `evaluation_strategy` also `eval_file`',
  dataset_splits: '`dataset_train_split` and `dataset_test_split`',
  dataset_mixture: '`train_file`, a list of sources, if each `weight` is 1.0; `test_split_size` is `eval_split`',
  do_eval: '`eval_file`, in a file with `dataset_mixer`',
  eval_strategy:
    'with `steps`, an evaluation every `eval_steps` steps; with `epoch`, only before the first step and after the last; with `no`, no `eval_file`',
  evaluation_strategy: '`eval_strategy`',
  eval_steps: 'the same, as a whole number of steps; default `logging_steps`, as in TRL',
  save_strategy: 'with `no`, `save_steps: 0`; with `steps` and `epoch`, a checkpoint every `save_steps` steps',
  save_steps: 'the same, as a whole number of steps',
  report_to: 'the same, if it is or lists `tensorboard`, or is `all`; other services are ignored',
  gradient_checkpointing: '`activation_checkpointing`: `true` is `always`, `false` is `never`',
  activation_checkpointing: 'the same; `true` is `always`, `false` is `never`',
  optim:
    'the same. Other names of the same arithmetic are read as ours: `adamw_torch_fused` and `paged_adamw_32bit` as `adamw_torch`, `adamw_8bit` and `paged_adamw_8bit` as `adamw_bnb_8bit`, `paged_lion_32bit` as `lion_32bit`',
  warmup_steps: 'the same; a value between 0 and 1 is `warmup_ratio`',
  train_sampling_strategy: '`shuffle`: `random` is `true`, `sequential` is `false`',
  truncation_mode:
    '`truncation: keep_start`; `keep_end` beside `max_prompt_length` is `truncation: paper`, as in TRL before 1.0',
  max_length: 'the same, but not `null`: give a limit',
  lora_dropout:
    'the same beside `disable_dropout: false`; else 0, because TRL then turns off the adapter’s dropout too',
  disable_dropout: 'decides whether `lora_dropout` counts',
} as const satisfies Readonly<Record<string, string>>;

const words = (text: string) => text.trim().split(/\s+/);

/** Keys that do not change what is trained, whatever their value. */
const IGNORED = new Set(
  words(`
    tf32 fp16_full_eval bf16_full_eval gradient_checkpointing_kwargs activation_checkpointing_kwargs activation_offloading
    torch_compile torch_compile_backend torch_compile_mode use_liger_kernel liger_kernel_config use_cache
    torch_empty_cache_steps auto_find_batch_size attn_implementation use_flash_attention_2
    logging_strategy logging_first_step logging_dir log_on_each_node logging_nan_inf_filter include_num_input_tokens_seen
    log_level log_level_replica disable_tqdm run_name project trackio_space_id trackio_bucket_id
    trackio_static_space_id skip_memory_metrics debug
    eval_delay prediction_loss_only eval_on_start eval_do_concat_batches eval_use_gather_object eval_accumulation_steps
    include_for_metrics batch_eval_metrics include_inputs_for_metrics do_train do_predict
    save_only_model save_on_each_node enable_jit_checkpoint save_safetensors overwrite_output_dir
    ignore_data_skip restore_callback_states_from_checkpoint full_determinism data_seed use_cpu no_cuda
    hub_token hub_strategy hub_always_push
    accelerator_config parallelism_config average_tokens_across_devices ddp_find_unused_parameters ddp_bucket_cap_mb
    ddp_broadcast_buffers ddp_static_graph ddp_backend ddp_timeout fsdp fsdp_config deepspeed local_rank ignore_bias_buffers
    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor
    dataloader_multiprocessing_context dataloader_in_order remove_unused_columns label_names length_column_name
    preprocessing_num_workers dataset_num_proc dataset_streaming streaming padding_free pad_to_multiple_of
    precompute_ref_batch_size
    trust_remote_code router_aux_loss_coef pad_token auto_insert_empty_system_msg
    ref_model_mixup_alpha ref_model_sync_steps
    env lora_task_type bnb_4bit_quant_type use_bnb_nested_quant bnb_4bit_quant_storage`),
);

/** Keys that would change what is trained, except at these values, which ask for what wpo does anyway. */
const REFUSED: Readonly<Record<string, readonly unknown[]>> = {
  hub_revision: ['main'],
  hub_model_revision: ['main'],
  fp16: [false],
  lr_scheduler_kwargs: [{}],
  optim_args: [''],
  optim_target_modules: [],
  label_smoothing_factor: [0],
  neftune_noise_alpha: [0],
  group_by_length: [false],
  dataloader_drop_last: [false],
  resume_from_checkpoint: [false],
  model_init_kwargs: [{}],
  sync_ref_model: [false],
  dataset_config: ['default'],
  dataset_configs: [],
  lora_target_parameters: [[]],
  lora_modules_to_save: [[]],
  load_in_8bit: [false],
  load_in_4bit: [false],
  chat_template: [],
};

/** What becomes of a key of the tables, in one sentence. */
export function becomes(key: string): string | undefined {
  if (Object.hasOwn(MAPPED, key)) {
    const text = MAPPED[key as keyof typeof MAPPED];
    return text.startsWith('`') ? `read as ${text}` : text;
  }
  if (IGNORED.has(key)) return `ignored. ${reasonFor(key)}`;
  if (!Object.hasOwn(REFUSED, key)) return undefined;
  const harmless = REFUSED[key]!.map((value) => `\`${JSON.stringify(value)}\``).join(', ');
  return `refused${harmless && ` unless it is ${harmless}`}. ${reasonFor(key)}`;
}

/** All keys of the tables. */
export const TRL_KEYS = [...Object.keys(MAPPED), ...IGNORED, ...Object.keys(REFUSED)];

/** Whether a key changes nothing at this value: why. Undefined for keys of other kinds, and for values that are refused. */
export function ignoredBecause(key: string, value: unknown): string | undefined {
  if (IGNORED.has(key)) return reasonFor(key);
  const harmless = Object.hasOwn(REFUSED, key) ? REFUSED[key]! : undefined;
  const same = harmless?.some((one) => JSON.stringify(one) === JSON.stringify(value));
  return same ? 'This value changes nothing.' : undefined;
}

function reasonFor(key: string): string {
  const reason = absentReason(key);
  if (reason === undefined) throw new Error(`${key} has no reason in other-names.ts`);
  return reason;
}
