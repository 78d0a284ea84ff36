"""LlavaForConditionalGeneration, as transformers, vLLM, SGLang and lmdeploy load it.

keys.py maps names of tensors, configs.py writes the JSON files, vocabulary.py adds tokens and their rows, chat.py the
chat template, metadata.py our own llava.json and the model card, folder.py puts the whole together; parts.py takes one
apart again.
"""
