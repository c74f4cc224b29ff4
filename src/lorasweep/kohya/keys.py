"""The names of Kohya's settings, and which of them have no effect here or cannot be carried over.

Key names are facts of bmaltais/kohya_ss 45088f04 (the LoRA tab, ``kohya_gui/lora_gui.py``) and kohya-ss/sd-scripts
48d368fa (``train_network.py``, ``sdxl_train_network.py``, ``flux_train_network.py``, and ``library/config_util.py`` for
dataset files); ``tests/kohya/kohya_keys.txt`` lists them, and a test holds these tables to the list.
"""

from collections.abc import Mapping
from typing import Any

BECOMES: Mapping[str, str] = {
    # the base model
    "pretrained_model_name_or_path": "model.path",
    "sdxl": "model.family",
    "flux1_checkbox": "model.family",
    "model_type": "model.family",
    "v2": "model.family",
    "v_parameterization": "model.prediction",
    "zero_terminal_snr": "model.zero_terminal_snr",
    "max_resolution": "model.resolution",
    "resolution": "model.resolution",
    # how it is computed
    "mixed_precision": "hardware.precision",
    "gradient_checkpointing": "hardware.gradient_checkpointing",
    "fp8_base": "hardware.base",
    "fp8_base_unet": "hardware.base",
    "cache_latents_to_disk": "hardware.cache",
    # photos
    "train_data_dir": "data.path",
    "dataset_config": "read: folders, repeats and captions",
    "image_dir": "data.path",
    "num_repeats": "data.repeats",
    "class_tokens": "data.trigger, data.class_noun",
    "is_reg": "data.regularisation_path",
    "batch_size": "optim.batch_size",
    "reg_data_dir": "data.regularisation_path",
    "prior_loss_weight": "data.regularisation_weight",
    "enable_bucket": "data.buckets",
    "bucket_no_upscale": "data.upscale",
    "min_bucket_reso": "data.bucket_min",
    "max_bucket_reso": "data.bucket_max",
    "bucket_reso_steps": "data.bucket_step",
    "shuffle_caption": "data.shuffle_captions",
    "keep_tokens": "data.keep_clauses",
    "caption_dropout_rate": "data.caption_dropout",
    "caption_prefix": "data.caption_prefix",
    "caption_extension": "both .txt and .caption are read",
    "caption_extention": "both .txt and .caption are read",
    "flip_aug": "data.flip",
    "alpha_mask": "data.masks",
    "masked_loss": "data.masks",
    "conditioning_data_dir": "data.masks_path",
    # the LoRA
    "LoRA_type": "lora.targets",
    "network_module": "lora.targets",
    "network_args": "lora.targets",
    "network_dim": "lora.rank",
    "network_alpha": "lora.alpha",
    "network_dropout": "lora.dropout",
    "network_weights": "lora.init",
    "lora_network_weights": "lora.init",
    "dim_from_weights": "lora.init",
    "conv_dim": "lora.targets",
    "conv_alpha": "lora.targets",
    "conv_dims": "lora.targets",
    "conv_alphas": "lora.targets",
    "network_train_unet_only": "lora.text_encoder",
    "network_train_text_encoder_only": "lora.text_encoder",
    # training
    "learning_rate": "optim.lr",
    "unet_lr": "optim.lr",
    "text_encoder_lr": "optim.text_encoder_lr",
    "optimizer": "optim.name",
    "optimizer_type": "optim.name",
    "use_8bit_adam": "optim.name",
    "use_lion_optimizer": "optim.name",
    "optimizer_args": "optim.weight_decay, optim.betas, optim.eps",
    "lr_scheduler": "optim.schedule",
    "lr_scheduler_num_cycles": "optim.restarts",
    "lr_warmup": "optim.warmup_steps",
    "lr_warmup_steps": "optim.warmup_steps",
    "lr_scheduler_power": "optim.schedule",
    "lr_decay_steps": "optim.decay_fraction",
    "epoch": "optim.steps",
    "max_train_epochs": "optim.steps",
    "max_train_steps": "optim.steps",
    "train_batch_size": "optim.batch_size",
    "gradient_accumulation_steps": "optim.gradient_accumulation",
    "max_grad_norm": "optim.max_grad_norm",
    "min_snr_gamma": "optim.min_snr_gamma",
    "noise_offset": "optim.noise_offset",
    "noise_offset_type": "optim.noise_offset",
    "timestep_sampling": "optim.timesteps",
    "sigmoid_scale": "optim.sigmoid_scale",
    "discrete_flow_shift": "optim.timestep_shift",
    "guidance_scale": "optim.guidance",
    "model_prediction_type": "the loss",
    "seed": "seed",
    "additional_parameters": "read as part of the command line",
    # saving and drawing
    "output_name": "the preset's name",
    "save_every_n_steps": "save.every_steps",
    "save_every_n_epochs": "save.every_steps",
    "save_n_epoch_ratio": "save.count",
    "clip_skip": "sample.clip_skip",
    "sample_prompts": "sample.prompts",
    "sample_sampler": "sample.sampler",
}
"""Settings that are carried over, to the key of a run; what becomes of a value is said when a file is imported."""

_MEMORY = "memory and speed only; hardware=auto chooses by the card"
_FULL = "adapters and optimiser stay in fp32 here"
_LOADING = "how pictures are loaded; chosen here without asking"
_LAUNCH = "how accelerate starts processes; there is one process here"
_LOGGING = "MLflow and the run's own journal log here"
_CACHING = "latents and text embeddings are always cached here"
_SAVING = "LoRA files are safetensors and every one of them is kept; full states are kept as save.* says"
_OTHER_BASE = "read for another base model only"
_LYCORIS = "read by LyCORIS only"
_HUB = "nothing is uploaded"
_GUI = "a mark of the window itself"
_DRAWN = "the sheet is drawn at every checkpoint; sample.every_steps draws it more often"
_HUBER = "read with a Huber loss only"
_MULTIRES = "read with noise_offset_type=Multires only"
_VALIDATION = "checkpoints are judged by their pictures here, not by a validation loss"
_GGPO = "read with train_lora_ggpo only"
_SD3_TIMES = "read with timestep_sampling=sigma and a weighting scheme only"

_WITHOUT_EFFECT: Mapping[str, str] = {
    _MEMORY: "highvram lowram lowvram xformers sdpa mem_eff_attn no_half_vae sdxl_no_half_vae "
    "vae_batch_size cpu_offload_checkpointing blocks_to_swap single_blocks_to_swap double_blocks_to_swap mem_eff_save "
    "torch_compile dynamo_backend dynamo_mode dynamo_use_dynamic dynamo_use_fullgraph disable_mmap_load_safetensors "
    "fused_backward_pass fp16_master_weights_and_gradients text_encoder_batch_size",
    _FULL: "full_fp16 full_bf16",
    _LOADING: "max_data_loader_n_workers persistent_data_loader_workers cache_info debug_dataset "
    "tokenizer_cache_dir resize_interpolation skip_cache_check",
    _CACHING: "cache_latents cache_text_encoder_outputs cache_text_encoder_outputs_to_disk "
    "sdxl_cache_text_encoder_outputs flux1_cache_text_encoder_outputs flux1_cache_text_encoder_outputs_to_disk",
    _LAUNCH: "num_cpu_threads_per_process multi_gpu gpu_ids main_process_port extra_accelerate_launch_args "
    "ddp_gradient_as_bucket_view ddp_static_graph ddp_timeout deepspeed offload_optimizer_device zero_stage "
    "offload_optimizer_nvme_path offload_param_device offload_param_nvme_path zero3_init_flag zero3_save_16bit_model",
    _LOGGING: "logging_dir log_with log_prefix log_config log_tracker_name log_tracker_config wandb_api_key "
    "wandb_run_name use_wandb console_log_file console_log_level console_log_simple training_comment",
    _SAVING: "output_dir save_model_as save_precision save_state save_state_on_train_end save_last_n_steps "
    "save_last_n_steps_state save_last_n_epochs save_last_n_epochs_state use_safetensors no_metadata",
    _HUB: "huggingface_repo_id huggingface_token huggingface_repo_type huggingface_repo_visibility async_upload "
    "huggingface_path_in_repo save_state_to_huggingface",
    _GUI: "model_list training_preset save_as_bool show_timesteps show_timesteps_resolution output_config "
    "stop_text_encoder_training stop_text_encoder_training_pct no_token_padding config_file",
    _DRAWN: "sample_every_n_steps sample_every_n_epochs sample_at_first",
    _HUBER: "huber_c huber_schedule huber_scale",
    _MULTIRES: "multires_noise_discount",
    _VALIDATION: "validation_seed validation_split validate_every_n_steps validate_every_n_epochs max_validation_steps",
    _SD3_TIMES: "logit_mean logit_std mode_scale",
    _GGPO: "ggpo_sigma ggpo_beta",
    _LYCORIS: "LyCORIS_preset factor bypass_mode dora_wd use_cp use_tucker use_scalar rank_dropout_scale constrain "
    "rescaled train_norm decompose_both train_on_input unit",
    _OTHER_BASE: "sd3_checkbox hunyuan_image_checkbox anima_checkbox lumina_checkbox clip_g clip_g_dropout_rate "
    "pos_emb_random_crop_rate save_clip save_t5xxl t5xxl_device t5xxl_dtype enable_all_linear",
}

OTHER_BASES = ("sd3_", "hunyuan_", "anima_", "lumina_")
"""First letters of settings that only another base model reads."""
NO_EFFECT: Mapping[str, str] = {key: reason for reason, keys in _WITHOUT_EFFECT.items() for key in keys.split()}
"""Settings that change no image, or none here, to the reason."""

_UNLIKE: tuple[tuple[str, str, str], ...] = (
    (
        "",
        "rates and ranks by block are not supported; all blocks learn alike",
        "down_lr_weight mid_lr_weight up_lr_weight block_lr_zero_threshold block_dims block_alphas conv_block_dims "
        "conv_block_alphas split_mode train_double_block_indices train_single_block_indices",
    ),
    ("all", "all blocks learn", "train_blocks"),
    (
        "",
        "ranks by kind of layer are not supported; all layers have lora.rank",
        "img_attn_dim img_mlp_dim img_mod_dim single_dim txt_attn_dim txt_mlp_dim txt_mod_dim single_mod_dim in_dims",
    ),
    (
        "",
        "headers of LoRA files are not written to; save.metadata=full tells what the photos were",
        "metadata_author metadata_description metadata_license metadata_tags metadata_title metadata_merged_from "
        "metadata_is_negative_embedding metadata_preprocessor metadata_thumbnail metadata_usage_hint",
    ),
    ("", "name the trigger in data.trigger", "metadata_trigger_phrase"),
    ("", "name a diffusers folder that holds these parts in model.config", "vae ae clip_l t5xxl"),
    (
        "",
        "captions are not changed in this way",
        "caption_suffix caption_tag_dropout_rate keep_tokens_separator caption_dropout_every_n_epochs "
        "secondary_separator enable_wildcard",
    ),
    ("1", "captions are not changed in this way", "token_warmup_step token_warmup_min"),
    (",", "clauses are separated by commas", "caption_separator"),
    ("", "weights such as (word:1.2) are read as text", "weighted_captions"),
    ("75", "captions are read up to 75 tokens by CLIP; what comes after is cut off", "max_token_length"),
    ("512", "captions are read up to 512 tokens by T5", "t5xxl_max_token_length"),
    ("", "T5 is read without its mask, which is sd-scripts' own default", "apply_t5_attn_mask"),
    ("", "pictures are only cut evenly and flipped", "color_aug random_crop face_crop_aug_range"),
    (
        "",
        "noise has no such term",
        "ip_noise_gamma ip_noise_gamma_random_strength adaptive_noise_scale noise_offset_random_strength "
        "multires_noise_iterations",
    ),
    (
        "",
        "the loss has no such term",
        "scale_v_pred_loss_like_noise_pred v_pred_like_loss debiased_estimation_loss",
    ),
    ("l2", "the loss is the mean square (l2)", "loss_type"),
    ("", "all noise levels are trained", "min_timestep"),
    ("1000", "all noise levels are trained", "max_timestep"),
    ("none", "all noise levels are drawn alike", "weighting_scheme"),
    ("", "weights are not rescaled", "scale_weight_norms"),
    ("", "only lora.dropout is supported", "rank_dropout module_dropout"),
    (
        "",
        "LoRA+ is not supported: both halves have one rate",
        "loraplus_lr_ratio loraplus_unet_lr_ratio loraplus_text_encoder_lr_ratio",
    ),
    ("", "GGPO is not supported", "train_lora_ggpo"),
    ("", "queries, keys and values share a LoRA, as in sd-scripts without it", "split_qkv"),
    ("", "T5 does not learn", "t5xxl_lr train_t5xxl"),
    ("", "schedules of other packages are not run; optim.schedule=constant", "lr_scheduler_type"),
    ("", "optim.* has all there is", "lr_scheduler_args"),
    ("", "the rate falls to zero", "lr_scheduler_min_lr_ratio"),
    ("", "the rate does not fall by the square root", "lr_scheduler_timescale"),
    ("", "merge it into the base model first", "base_weights base_weights_multiplier"),
    ("", "training starts anew", "resume resume_from_huggingface initial_step skip_until_initial_step"),
    ("1", "training starts anew", "initial_epoch"),
    ("", "inpainting models are not trained", "train_inpainting"),
    ("", "ControlNets are not read", "controlnet_model_name_or_path"),
    ("", "no code of others is run", "dataset_class"),
    ("", "captions are read from files beside the pictures", "in_json metadata_file"),
    ("", "nothing here reads attributes of pictures", "custom_attributes"),
    ("1", "a LoRA is always trained at its full strength", "network_multiplier"),
    ("1", "repeats are read from the folders' names", "dataset_repeats"),
    ("1", "one process trains; optim.gradient_accumulation makes as large a step", "num_processes num_machines"),
)
CANNOT: Mapping[str, tuple[str, str]] = {key: (off, why) for off, why, keys in _UNLIKE for key in keys.split()}
"""Settings with nothing like them here, to the value that means off besides empty, zero and false, and the reason."""

SECRETS = frozenset({"huggingface_token", "wandb_api_key"})
"""Settings whose values are never printed or written."""


def is_known(key: str) -> bool:
    """Return whether Kohya's trainers have a setting of this name."""
    return key in BECOMES or key in NO_EFFECT or key in CANNOT or key.startswith(OTHER_BASES)


def is_off(value: Any, off: str = "") -> bool:
    """Return whether a setting's value asks for nothing: empty, zero, false, or the word or number ``off``."""
    if isinstance(value, list | dict):
        return not value
    word, number = str(value).strip().lower(), as_number(value)
    return word in ("", "none", "false", off.lower()) or (number is not None and number in (0, as_number(off)))


def as_number(value: Any) -> float | None:
    """Return a number, or the number that a text spells; None for anything else."""
    if isinstance(value, bool):  # float(True) is 1
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
