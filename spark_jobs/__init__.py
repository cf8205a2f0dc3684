"""Jobs for spark-submit: the batch baseline and the streaming path."""
