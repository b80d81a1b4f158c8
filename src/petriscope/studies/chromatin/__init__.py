"""Study chromatin probes EpiBERT on in vitro against in vivo chromatin."""
