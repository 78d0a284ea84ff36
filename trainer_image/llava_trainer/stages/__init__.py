"""The stages of a job: prepare, pretrain and finetune, convert, evaluate."""
