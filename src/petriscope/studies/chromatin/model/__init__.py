"""EpiBERT is built, pre-trained and evaluated here; released TensorFlow checkpoints are read."""
