"""Study chromatin: EpiBERT, in vitro against in vivo chromatin."""
