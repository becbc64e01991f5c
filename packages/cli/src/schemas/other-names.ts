import { printable } from '@wpo/internal/printable';
import { wpoCommand } from '../invocation';
import { nearestName } from '../nearest';

// What people who come from TRL, Transformers, axolotl, LLaMA-Factory or Unsloth write, and what to write here.
// A name that ends or begins in * stands for all names with this beginning or end.

/** Our keys, each with the names that it has elsewhere. A name can belong to several keys, of different commands. */
const SAME: Readonly<Record<string, string>> = {
  model_name_or_path: `
    model model_name model_id model_path base_model base_model_config pretrained_model_name_or_path
    sft_model_path policy_model`,
  model: 'model_name model_name_or_path model_path model_id base_model policy checkpoint pretrained_model_name_or_path',
  ref_model_name_or_path: `
    ref_model reference_model ref_model_name ref_model_path reference_model_name_or_path reference_model_path
    ref`,
  train_file: `
    dataset datasets dataset_name dataset_path data data_path data_files train_data train_dataset train_path
    train_files training_data train_data_path dataset_dir data_dir pairs train`,
  eval_file: `
    eval_dataset eval_data eval_data_path eval_path eval_files test_file test_dataset test_datasets test_data
    validation_file validation_dataset val_file val_data dev_file`,
  eval_split: `
    val_set_size val_size validation_split validation_split_percentage test_split_size test_size eval_size
    valid_size holdout`,
  dataset_train_split: 'train_split split train_dataset_split',
  dataset_test_split: 'test_split eval_dataset_split dataset_eval_split validation_dataset_split',
  columns: `
    column_names columns_mapping column_mapping field_prompt field_chosen field_rejected field_messages
    field_system field_instruction prompt_column chosen_column rejected_column prompt_field chosen_field
    rejected_field field_map key_mapping`,
  use_peft: 'peft lora use_lora use_lora_adapter adapter_type',
  adapter_name_or_path: `
    adapter_path adapter_name adapter lora_model_dir lora_path adapter_dir peft_model_id lora_weights lora_adapter
    resume_adapter`,
  lora_r: 'r lora_rank rank lora_dim peft_lora_r',
  lora_alpha: 'peft_lora_alpha',
  lora_dropout: 'peft_lora_dropout',
  lora_target_modules: `
    target_modules lora_target lora_target_linear lora_modules lora_module_name target_linear peft_target_modules`,
  use_rslora: 'peft_use_rslora rslora use_rs_lora',
  use_dora: 'peft_use_dora dora',
  output_dir: `
    output output_path output_folder save_dir save_path out out_dir run_dir checkpoint_dir export_dir outdir
    logging_dir log_dir`,
  dtype: 'torch_dtype model_dtype infer_dtype',
  precision: 'mixed_precision compute_dtype amp_dtype',
  save_dtype: 'export_dtype output_dtype',
  beta: 'dpo_beta rl_beta pref_beta kl_coef kl_beta kl_penalty dpo_alpha',
  loss_type: 'loss pref_loss dpo_loss dpo_loss_type rl trainer method rl_type algorithm preference_loss pref_loss_type',
  loss_weights: 'dpo_loss_weights loss_coefs loss_weight',
  label_smoothing: 'label_smoothing_factor dpo_label_smoothing smoothing',
  reference_free: 'ref_free no_reference no_ref_model',
  simpo_gamma: 'gamma gamma_beta_ratio simpo_margin',
  cpo_alpha: 'alpha simpo_cpo_alpha',
  desirable_weight: 'kto_desirable_weight kto_chosen_weight',
  undesirable_weight: 'kto_undesirable_weight kto_rejected_weight',
  use_weighting: 'dpo_use_weighting wpo use_wpo wpo_weighting weighting',
  f_divergence_type: 'divergence f_divergence divergence_type',
  ld_alpha: 'ld_dpo_alpha',
  max_length: `
    max_seq_length max_seq_len sequence_len seq_len seq_length sequence_length cutoff_len model_max_length
    max_len max_tokens context_length block_size max_packed_sequence_len max_target_length eval_sequence_len max_sequence_length`,
  max_prompt_length: 'max_prompt_len max_source_length max_query_length prompt_max_length max_prompt_tokens',
  truncation: 'truncation_mode truncation_strategy excess_length_strategy truncate',
  on_bad_row: 'skip_bad_rows on_error ignore_errors',
  per_device_train_batch_size: `
    batch_size train_batch_size micro_batch_size per_device_batch_size per_gpu_train_batch_size
    mini_batch_size local_batch_size micro_bsz bsz train_micro_batch_size_per_gpu device_train_batch_size`,
  per_device_eval_batch_size: `
    eval_batch_size per_gpu_eval_batch_size precompute_ref_batch_size val_batch_size device_eval_batch_size`,
  gradient_accumulation_steps: `
    grad_accum grad_accumulation_steps gradient_accumulation grad_acc_steps accumulate_grad_batches
    accumulation_steps grad_accum_steps num_mini_batches global_batch_size total_batch_size
    effective_batch_size`,
  max_tokens_per_pack: `
    packing sample_packing neat_packing padding_free dpo_padding_free batch_flattening eval_packing
    eval_sample_packing pack_length packing_strategy packing_length sample_packing_* multipack_*
    pretrain_multipack_*`,
  activation_checkpointing: `
    gradient_checkpointing gradient_checkpointing_kwargs use_gradient_checkpointing grad_checkpointing
    disable_gradient_checkpointing recompute gradient_checkpointing_use_reentrant use_reentrant_gc
    use_unsloth_gc selective_checkpointing layer_offloading`,
  offload_activations: 'activation_offloading activation_cpu_offloading cpu_offload_activations',
  precompute_ref_log_probs: 'precompute_reference_logps precompute_ref precompute_ref_logps',
  learning_rate: 'lr peak_lr max_lr init_lr initial_lr base_lr learning_rate_init policy_lr',
  lr_scheduler_type: `
    lr_scheduler scheduler scheduler_type lr_schedule schedule learning_rate_scheduler lr_decay_style
    decay_type`,
  warmup_ratio: 'warmup warmup_fraction lr_warmup_ratio warmup_proportion',
  warmup_steps: 'num_warmup_steps lr_warmup_steps warmup_iters warmup_step_count',
  num_train_epochs: 'epochs num_epochs n_epochs epoch max_epochs train_epochs nb_epochs',
  max_steps: `
    steps num_steps num_train_steps train_steps max_train_steps total_steps iters max_iters num_training_steps`,
  max_grad_norm: `
    grad_clip gradient_clipping clip_grad clip_grad_norm grad_norm gradient_clip_val max_gradient_norm
    grad_norm_clip`,
  weight_decay: 'wd l2 adam_weight_decay decay',
  optim: 'optimizer optimizer_type optim_type optimizer_name',
  adam_beta1: 'beta1 adamw_beta1',
  adam_beta2: 'beta2 adamw_beta2',
  adam_epsilon: 'eps epsilon adam_eps adamw_epsilon adam_epsilon2',
  seed: 'random_seed data_seed random_state manual_seed',
  shuffle: `
    shuffle_dataset disable_shuffling dataset_shuffle shuffle_data train_sampling_strategy
    shuffle_merged_datasets curriculum_sampling`,
  logging_steps: `
    log_steps log_interval log_every_n_steps log_every logging_interval log_freq steps_per_print print_every`,
  eval_steps: `
    evaluation_steps eval_interval eval_every val_interval evals_per_epoch evaluation_strategy eval_strategy
    eval_freq evaluate_every eval_every_n_steps val_check_interval`,
  save_steps: `
    save_interval save_every saves_per_epoch checkpoint_interval save_strategy ckpt_steps checkpointing_steps
    save_freq checkpoint_every`,
  save_total_limit: 'keep_last_n_checkpoints max_checkpoints keep_checkpoints save_top_k total_limit max_to_keep',
  load_best_model_at_end: 'load_best save_best best_model keep_best',
  metric_for_best_model: 'best_metric monitor best_model_metric',
  skip_nonfinite: 'skip_nan skip_nan_batches logging_nan_inf_filter skip_nonfinite_steps',
  max_new_tokens: `
    max_tokens max_completion_length max_completion_tokens generation_max_new_tokens eval_max_new_tokens
    max_gen_len gen_max_len max_generation_length response_length generate_max_len`,
  temperature: 'temp sampling_temperature generation_temperature',
  top_p: 'nucleus topp generation_top_p',
  top_k: 'topk generation_top_k',
  per_prompt: 'n num_return_sequences num_samples n_samples num_generations samples_per_prompt n_samples_per_prompt',
  seeds: 'seed',
  endpoint: 'base_url api_base url server host vllm_server_host openai_base_url address port vllm_server_port',
  prompts: 'prompt prompt_file prompts_file input inputs input_file dataset data questions',
  answers: 'responses completions generations outputs input inputs input_file samples',
  pairs: 'dataset data train_file eval_file file input input_file preference_data',
  ref: 'ref_model reference reference_model ref_model_name_or_path',
  concurrency: 'num_workers max_workers workers parallel n_jobs num_proc max_concurrency batch_size jobs',
  timeout: 'request_timeout vllm_server_timeout timeout_seconds',
  retries: 'max_retries num_retries',
  judge: 'judge_url annotator evaluator judge_endpoint',
  judge_model: 'judge_name annotators_config evaluator_model',
  baseline: 'reference_outputs baseline_outputs reference baseline_file',
  outputs: 'model_outputs model_output',
  out: 'output output_file output_path output_dir save_path outfile o',
};

/** Why names from elsewhere have no key here. */
const ABSENT: Readonly<Record<string, string>> = {
  'This belongs to another method of training, which wpo does not have.': `
    adaptive_max_tokens advantage_estimator alignment_coef async_prefetch capabilities ce_coef diversity_coef eaft_* ebft
    env_capabilities epsilon_high gradio_* gt_length_multiplier importance_sampling_level multi_objective_aggregation
    num_completions_to_print num_iterations off_policy_mask_threshold prefetch_depth replay_* reroll_* reward_funcs
    reward_num_workers reward_weights rl_coef rollout_func scale_rewards serve_module skip_zero_advantage_batches
    use_bias_correction_kl use_data_producer use_eaft use_eaft* use_whitening worker_extension_cls asft_alpha use_asft_loss
    use_dft_loss pref_bco_weight lang n_shot task_dir max_density_ratio min_density_ratio prompt_sample_size enabled
    stride total_num_tokens total_supervised_tokens save save_sliding_window num_ppo_epochs whiten_rewards kl_coef cliprange
    vf_coef gae_lambda
    host port`,
  'Modules are not trained whole beside an adapter. Gemma-2 shares its embedding with the output projection.': `
    lora_modules_to_save modules_to_save additional_target lora_trainable_token_indices trainable_token_indices
    ensure_weight_tying`,
  'An adapter is initialized as PEFT does by default: A at random, B with zeros.': `
    init_lora_weights peft_init_lora_weights lora_init* pissa_* loftq_* loftq_config eva_* corda_*`,
  'Adapters are LoRA, with use_rslora and use_dora. Their settings are lora_r, lora_alpha, lora_dropout and lora_target_modules.': `
    peft_* adapter_* lora_* loraplus_* relora* oft_* use_lora use_bdlora use_qalora finetuning_type freeze_* unfrozen_parameters use_llama_pro lisa_* bias module_dropout
    train_from_scratch full_finetuning use_kt kt_* recompute_layer_types finetune_* layers_to_transform
    layers_pattern rank_pattern alpha_pattern exclude_modules model_adapter_name ref_adapter_name
    ref_model_adapters reward_model_adapters force_use_ref_model create_new_adapter max_lora_rank lora_on_cpu`,
  'The run writes the adapter. Merge it into its model with `wpo merge`.': `
    merge_lora merge_adapter merge_method merge_and_unload`,
  'Nothing is quantized. `dtype: bfloat16` holds the model under an adapter in 2 bytes per parameter.': `
    load_in_4bit load_in_8bit bnb_* qlora* use_qlora use_bnb_nested_quant quantization quantization_* quantize*
    quantization_bit gptq* double_quantization qat export_quantization_* ref_model_quantization_bit
    reward_model_quantization_bit weight_dtype activation_dtype group_size fake_quant_after_n_steps
    model_quantization_config* use_onebitllms`,
  'Training computes in float32, or with `precision: bfloat16` products in bfloat16. `save_dtype` is the type of the saved model.': `
    fp16 tf32 fp8* float16 float32 half_precision* fp16_* mixed_precision_* upcast_* fp32_norm* embeddings_skip_upcast`,
  'Products of bfloat16, as with `bf16: true` elsewhere, are `precision: bfloat16` here.': `
    bf16 pure_bf16 bfloat16 bf16_full_eval amp use_amp autocast`,
  'optim selects among adamw_torch, adamw_bnb_8bit, lion_32bit, adafactor and sgd, which have no further options but adam_*.': `
    optim_* optim_target_modules adafactor adam_beta3 use_adam_mini use_muon use_galore galore_* use_apollo
    apollo_* use_badam badam_* qgalore_* dion_* muon*`,
  'Metrics are written to metrics.jsonl in output_dir, with `report_to: tensorboard` also for TensorBoard, and to no other service.': `
    run_name project logging_dir wandb* use_wandb mlflow* use_mlflow hf_mlflow* comet* use_comet trackio*
    use_trackio swanlab* use_swanlab use_tensorboard tensorboard* use_otel_metrics otel_* tags plot_loss
    log_with tracker*`,
  'mpirun starts several processes, each with the whole model on one device: docs/scale.md.': `
    deepspeed fsdp fsdp_* ddp ddp_* local_rank world_size tensor_parallel_size data_parallel_size
    context_parallel_size dp_* sequence_parallel_degree ring_attn_func heads_k_stride n_gpu n_node num_gpus
    accelerator accelerator_config parallelism_config device_map master_addr master_port ray_* use_ray
    resources_per_worker deepcompile save_on_each_node log_on_each_node
    average_tokens_across_devices dispatch_batches split_batches sharded_ddp mp_parameters use_megatron_bridge
    megatron_* use_mca use_hyper_parallel hyper_parallel_* tpu_* state_dict_type offload_params cpu_offload*
    reshard_after_forward auto_wrap_policy sync_module_states use_orig_params min_num_params
    transformer_layer_cls_to_wrap final_state_dict_type low_cpu_mem_usage max_memory offload_folder
    cpu_ram_efficient_loading ignore_bias_buffers`,
  'A GPU is used if TensorFlow’s CUDA build is installed: `npx wpo-tensorflow install --variant gpu`.': `
    device use_cpu no_cuda use_mps_device gpu_memory_limit gpu cuda use_gpu devices use_ipex`,
  'The native kernels need no setting.': `
    attn_implementation flash_attn* flash_attention* sdp_attention sdpa* eager_attention xformers_attention
    flex_att* sage_attention s2_attention shift_attn use_liger* liger_kernel_config enable_liger_kernel
    dpo_use_liger_kernel use_kernels use_v1_kernels torch_compile* torchdynamo use_unsloth unsloth*
    flash_optimum fused_attn_kernel scaling_softmax* large_head_attention chunked_cross_entropy* tiled_mlp*
    experts_implementation torch_empty_cache_steps gc_steps gc_collect_steps use_cache use_kv_cache
    jit_mode_eval use_logits_to_keep use_num_logits_to_keep dpo_use_logits_to_keep
    block_diag_attn attention_implementation fast_inference gpu_memory_utilization experimental_skip_move_to_device torchdistx_path enforce_eager enable_prefix_caching use_legacy_prediction_loop use_flash_attention_2`,
  'The model is read from its folder as it is: Gemma-2, with its own tokenizer and chat template.': `
    chat_template chat_template_* template trust_remote_code model_type type_of_model tokenizer_*
    model_init_kwargs ref_model_init_kwargs model_kwargs rope_scaling overrides_of_model_* special_tokens
    additional_special_tokens added_tokens_overrides pad_token pad_token_id eos_token eos_token_id bos_token*
    unk_token padding_value label_pad_token_id padding_side padding pad_to_* is_encoder_decoder
    is_*_derived_model resize_* new_special_tokens_config add_special_tokens add_tokens init_special_tokens
    split_special_tokens use_fast_tokenizer processor_* cls_model_config mean_resizing_embeddings
    shrink_embeddings reinit_weights num_labels eot_tokens use_pose pose_* mixture_of_depths
    router_aux_loss_coef auto_insert_empty_system_msg moe_* base_model_attribute_name image_* video_* audio_* use_audio_in_video
    crop_to_patches tool_format tools default_system default_system_message system_prompt enable_thinking
    preserve_thinking is_falcon_derived_model is_llama_derived_model is_mistral_derived_model is_qwen_derived_model fix_untrained_tokens fix_tokenizer use_exact_model_name gemma4_hybrid_attn_impl llama4_linearized_experts embed_method feature_layers drop_system_message template_thinking_key split_thinking reasoning_parser enable_reasoning`,
  'A revision is part of the model’s name: `hf://org/name@revision`.': `
    model_revision revision revision_of_model dataset_revision`,
  'Downloads are in the cache of the Hugging Face Hub, HF_HOME, and use HF_TOKEN.': `
    cache_dir hf_use_auth_token use_auth_token hf_hub_token hf_token hub_token token ms_hub_token om_hub_token
    download_mode`,
  'The model is uploaded once, at the end of the run, to the branch main, with push_to_hub, hub_model_id and hub_private_repo.': `
    push_to_hub* hub_* push_dataset_to_hub export_hub_model_id export_*`,
  'To continue a run, add --resume to the command.': `
    resume resume_from_checkpoint auto_resume_from_checkpoints ignore_data_skip
    restore_callback_states_from_checkpoint`,
  'A run never overwrites another: use a new output_dir.': `
    overwrite_output_dir overwrite_cache overwrite`,
  'The model is always saved as safetensors, and checkpoints are always complete.': `
    save_safetensors save_only_model save_first_step dynamic_checkpoint enable_jit_checkpoint check_interval
    trigger_file_path save_model`,
  'The split of a data set is dataset_train_split; a part of a data set on the Hub is a path: `hf://datasets/org/name/folder/*.parquet`.': `
    dataset_config dataset_configs dataset_config_name subset config_name name data_name dataset_kwargs`,
  'To train on fewer pairs, set max_steps, or make a smaller file.': `
    max_samples max_train_samples max_eval_samples num_samples_train dataset_shard_* shards*
    num_dataset_shards_to_save limit min_sample_len min_input_id max_input_id interleave_probs mix_strategy`,
  'Data is read and encoded by several threads, without settings.': `
    dataset_num_proc dataset_processes dataloader_* preprocessing_* num_workers streaming dataset_streaming
    streaming_* dataset_prepared_path dataset_keep_in_memory skip_prepare_dataset tokenized_path
    length_column_name remove_unused_columns label_names buffer_size data_shared_file_system
    preprocess_* is_preprocess dataset_exact_deduplication drop_last ds_type shuffle_before_merging_datasets
    pretraining_* media_dir past_index`,
  'Losses count the tokens of the answers only, never those of the prompt.': `
    train_on_inputs train_on_prompt mask_history completion_only_loss assistant_only_loss response_template
    roles_to_train train_on_eos train_on_eot ignore_pad_token_for_loss train_on_last_step_only mask_truncated_completions`,
  'The fields of a row are found by their names; other names go into `columns`.': `
    type format field_* message_field_* message_property_mappings conversation roles dataset_text_field
    text_column prompt_key messages_key dataset_format chosen_format rejected_format prompt_format_type
    no_input_format input_format system_format
    field length prompt_format completion_format input_transform logprobs_field step_separator skip path tokens modules offload`,
  'Add `sft` to loss_type, and its factor to loss_weights: `loss_type: [sigmoid, sft]`, `loss_weights: [1, 0.2]`.': `
    rpo_alpha pref_ftx sft_alpha orpo_alpha dpo_ftx lambda_sft sft_weight`,
  'The last batch of an epoch takes the pairs that are left.': `
    dataloader_drop_last`,
  'It is the label smoothing of a cross-entropy. That of a preference loss is label_smoothing.': `
    label_smoothing_factor`,
  'Nothing is padded: a pair is one sequence, and max_tokens_per_pack puts several into one pass.': `
    padding_free pad_to_multiple_of`,
  'The reference’s log-probs are computed pair by pair, packed as max_tokens_per_pack says.': `
    precompute_ref_batch_size`,
  'All random numbers come from seed. The order of the pairs is another than PyTorch’s.': `
    data_seed full_determinism`,
  'Blocks are recomputed as activation_checkpointing says, which has no further options.': `
    gradient_checkpointing_kwargs activation_checkpointing_kwargs`,
  'Inputs of layers are in memory of the CPU with `offload_activations: cpu`, if a GPU computes.': `
    activation_offloading`,
  'The order of the pairs is random, or with shuffle: false that of the file.': `
    group_by_length`,
  '`wpo plan` shows what a batch needs, and finds settings that fit into memory.': `
    auto_find_batch_size`,
  'Set environment variables in the shell.': `
    env`,
  'The held-out pairs are evaluated before the first step and after the last, and every eval_steps steps.': `
    eval_on_start eval_delay do_eval do_train do_predict do_bench_eval do_causal_lm_eval evaluate
    eval_accumulation_steps prediction_loss_only bench_* eval_table_size eval_on_each_dataset
    eval_do_concat_batches eval_use_gather_object batch_eval_metrics include_for_metrics
    include_inputs_for_metrics compute_accuracy eval_causal_lm_metrics`,
  'Training shows answers of the model to eval_prompts; `wpo generate` and `wpo sample` write others.': `
    generate_during_eval dpo_generate_during_eval generate_samples num_generation_samples generation_*
    sample_during_eval log_completions`,
  'There is no early stopping: set eval_steps and load_best_model_at_end.': `
    early_stopping early_stopping_patience early_stopping_steps early_stopping_threshold greater_is_better
    loss_watchdog_*
    load_best_model_at_end metric_for_best_model`,
  'The reference does not change during training.': `
    sync_ref_model ref_model_sync_steps ref_model_mixup_alpha reference_update_steps tr_dpo`,
  'Gemma-2 has no dropout.': `
    disable_dropout dropout attention_dropout hidden_dropout dpo_norm_loss`,
  'lr_scheduler_type selects among cosine, linear, constant and constant_with_warmup, which have no further options.': `
    lr_scheduler_kwargs min_lr min_learning_rate lr_min cosine_* lr_div_factor lr_end num_cycles lr_groups
    lr_quadratic_warmup lr_decay* jagged_* embedding_lr*`,
  'NEFTune is not implemented.': `
    neftune* noisy_embedding_alpha`,
  'A training run is one stage. For reward models and other trainers use TRL.': `
    stage task reward_model* ppo_* process_reward_model center_rewards_coefficient trl vllm vllm_* use_vllm
    sglang_* infer_* plugins trainer_cls mode kl_reference`,
  'Progress is a line on a terminal, and plain lines elsewhere.': `
    disable_tqdm log_level* logging_strategy logging_first_step verbose silent progress_bar
    include_tokens_per_second include_num_input_tokens_seen include_tkps include_effective_tokens_per_second
    skip_memory_metrics print_param_status debug profile* profiler* enable_torch_profiler strict
    axolotl_config_path deterministic
    logging_nan_inf_filter`,
};

/** Why an option of another program has no key here, if that is known. */
export function absentReason(name: string): string | undefined {
  const entry = TABLES.absent.find((one) => one.name === name) ?? TABLES.absent.find((one) => matches(one.name, name));
  return entry && withCommand(entry.answer);
}

/** Options of other commands. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  'This is an option of `wpo generate` and `wpo sample`, not of training.': `
    max_new_tokens top_p top_k prompts prompt do_sample num_beams repetition_penalty length_penalty
    skip_special_tokens stop stop_token stop_token_id eval_num_beams min_p min_completion_prefix
    max_completion_length eval_max_new_tokens generate_max_len num_generations n_samples_per_prompt max_model_len num_return_sequences`,
  'This is an option of `wpo pair`, not of this command.': `
    answers strategy min_margin off_policy hybrid against ngram drop_overlaps`,
  'This is an option of `wpo sample` and `wpo score`, not of this command.': `
    endpoint seeds per_prompt concurrency timeout retries rewards judge compare api`,
};

const DTYPES = {
  bf16: 'bfloat16',
  fp32: 'float32',
  f32: 'float32',
  float: 'float32',
  'torch.bfloat16': 'bfloat16',
  'torch.float32': 'float32',
  float16: 'bfloat16',
  fp16: 'bfloat16',
  half: 'bfloat16',
  f16: 'bfloat16',
  'torch.float16': 'bfloat16',
};

/** Names elsewhere of optimizers with the arithmetic of ours. */
export const SAME_OPTIMIZERS: Readonly<Record<string, string>> = {
  adamw_torch_fused: 'adamw_torch',
  adamw_torch_xla: 'adamw_torch',
  adamw_torch_npu_fused: 'adamw_torch',
  adamw_apex_fused: 'adamw_torch',
  adamw_hf: 'adamw_torch',
  paged_adamw: 'adamw_torch',
  paged_adamw_32bit: 'adamw_torch',
  adamw_8bit: 'adamw_bnb_8bit',
  paged_adamw_8bit: 'adamw_bnb_8bit',
  paged_lion_32bit: 'lion_32bit',
};

/** Values that are written differently elsewhere, by key: our value, or the nearest; '' where there is none. */
const VALUES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  loss_type: {
    dpo_pair: 'dpo',
    ipo_pair: 'ipo',
    kto_pair: 'kto',
    bco: 'bco_pair',
    exo: 'exo_pair',
    nca: 'nca_pair',
    sppo: 'sppo_hard',
    sppo_hard_pair: 'sppo_hard',
    apo: 'apo_zero',
    aot_pair: 'aot',
    slic: 'hinge',
    rso: 'hinge',
    rdpo: 'robust',
    cdpo: 'dpo',
    cpo_simpo: 'simpo',
    nll: 'sft',
    ce: 'sft',
    logistic: 'sigmoid',
    ppo: '',
    grpo: '',
    rloo: '',
    gdpo: '',
  },
  dtype: DTYPES,
  precision: {
    ...DTYPES,
    'bf16-mixed': 'bfloat16',
    'bf16-true': 'bfloat16',
    '16-mixed': 'bfloat16',
    true: 'bfloat16',
    false: 'float32',
    no: 'float32',
  },
  save_dtype: { ...DTYPES, auto: '' },
  lr_scheduler_type: {
    cosine_with_restarts: 'cosine',
    cosine_with_min_lr: 'cosine',
    cosine_warmup_with_min_lr: 'cosine',
    cosine_annealing: 'cosine',
    rex: 'cosine',
    polynomial: 'linear',
    linear_with_warmup: 'linear',
    cosine_with_warmup: 'cosine',
    inverse_sqrt: 'constant_with_warmup',
    warmup_stable_decay: 'constant_with_warmup',
    wsd: 'constant_with_warmup',
    one_cycle: 'cosine',
    reduce_lr_on_plateau: 'constant',
    none: 'constant',
  },
  optim: {
    ...SAME_OPTIMIZERS,
    adamw: 'adamw_torch',
    adam: 'adamw_torch',
    adamw_anyprecision: 'adamw_torch',
    adamw_torch_8bit: 'adamw_bnb_8bit',
    lion: 'lion_32bit',
    lion_pytorch: 'lion_32bit',
    lion_8bit: 'lion_32bit',
    paged_lion_8bit: 'lion_32bit',
    adagrad: '',
    rmsprop: '',
    lomo: '',
    adalomo: '',
    muon: '',
  },
  truncation: { keep_end: 'paper', left: 'paper', right: 'keep_start', drop: '', true: '', longest_first: 'paper' },
  f_divergence_type: {
    kl: 'reverse_kl',
    rkl: 'reverse_kl',
    fkl: 'forward_kl',
    js: 'js_divergence',
    jsd: 'js_divergence',
    alpha: 'alpha_divergence',
  },
  activation_checkpointing: { true: 'always', false: 'never', unsloth: 'always', offload: 'always' },
  completion: { default: 'paper', chat: 'turn', prompt_completion: 'trl' },
  api: { reward: 'pooling', rm: 'pooling', classification: 'classify', rerank: 'score' },
  judge_form: { logprob: 'logprobs', weighted: 'logprobs', text: 'verdict', pairwise: 'verdict' },
  strategy: { best_worst: 'max-min', max_min: 'max-min', 'best-worst': 'max-min', random: 'max-random' },
};

/** The table of one of the records above: each name, or beginning or end of a name, with its answers. */
const tableOf = (record: Readonly<Record<string, string>>) =>
  Object.entries(record).flatMap(([answer, names]) =>
    names
      .trim()
      .split(/\s+/)
      .map((name) => ({ name, answer })),
  );

const TABLES = { same: tableOf(SAME), absent: tableOf(ABSENT), elsewhere: tableOf(ELSEWHERE) };

const matches = (pattern: string, name: string) =>
  pattern.endsWith('*')
    ? name.startsWith(pattern.slice(0, -1))
    : pattern.startsWith('*')
      ? name.endsWith(pattern.slice(1))
      : pattern === name;

const STAGES = ['sample', 'score', 'pair', 'weigh', 'train', 'eval'];
const IS_STAGE = 'It is a stage of `wpo run`: use that command with this file.';

/** An answer with `wpo` as the user started it, e.g. `npx wpo`. */
const withCommand = (answer: string): string => answer.replaceAll('`wpo ', `\`${wpoCommand()} `);

/** A key as other programs write it, in our spelling: `learningRate` and `learning-rate` are `learning_rate`. */
export const normalizedKey = (key: string): string =>
  key
    .replace(/^-+/, '')
    .replaceAll(/([a-z\d])([A-Z])/g, '$1_$2')
    .replaceAll(/[-. ]/g, '_')
    .toLowerCase();

/**
 * What to write in place of a key that is not one of ours, or why it does not exist.
 *
 * @param keys the keys of the command
 * @returns our key, or a sentence; undefined if nothing is known or near
 */
export function answerForKey(
  written: string,
  keys: readonly string[],
): { readonly key: string } | { readonly similar: string } | { readonly why: string } | undefined {
  const name = normalizedKey(written);
  if (keys.includes(name)) return { similar: name };
  if (keys.includes('train_file') && STAGES.includes(name)) return { why: withCommand(IS_STAGE) };
  const same = TABLES.same.find((entry) => keys.includes(entry.answer) && matches(entry.name, name));
  if (same !== undefined) return { key: same.answer };
  const exact = TABLES.absent.find((entry) => entry.name === name);
  const similar = exact === undefined ? nearestName(name, keys) : undefined;
  if (similar !== undefined) return { similar };
  const elsewhere = TABLES.elsewhere.find((entry) => entry.name === name);
  if (elsewhere !== undefined) return { why: withCommand(elsewhere.answer) };
  const absent = exact ?? TABLES.absent.find((entry) => matches(entry.name, name));
  return absent === undefined ? undefined : { why: `${withCommand(absent.answer)} Remove it.` };
}

/** A message about a key that the command does not have. @param nameOf how the user writes a key, `max_length` or `--max-length` */
export function unknownKey(
  written: string,
  keys: readonly string[],
  {
    kind,
    command,
    nameOf,
  }: { readonly kind: 'key' | 'flag'; readonly command: string; readonly nameOf: (key: string) => string },
): string {
  const answer = answerForKey(written, keys);
  const start = `${printable(written, 60)}: unknown ${kind}.`;
  if (answer !== undefined && 'key' in answer) return `${start} It is called ${nameOf(answer.key)} here.`;
  if (answer !== undefined && 'why' in answer) return `${start} ${answer.why}`;
  const similar = answer === undefined ? '' : ` Did you mean "${nameOf(answer.similar)}"?`;
  return `${start}${similar} \`${wpoCommand()} ${command} --help\` lists all ${kind}s.`;
}

/** Our value for one that other programs write, or undefined if nothing is known or near. */
export function answerForValue(key: string, value: string, words: readonly string[]): string | undefined {
  const name = value.trim().toLowerCase();
  const values = Object.hasOwn(VALUES, key) ? VALUES[key]! : {};
  const spelling = [name, name.replaceAll('-', '_')].find((one) => Object.hasOwn(values, one));
  const known = spelling === undefined ? undefined : values[spelling];
  return known === undefined ? nearestName(name, words) : known || undefined;
}
