"""EpiBERT: the model, its pre-training and evaluation, and the reader of released TensorFlow
checkpoints."""
