"""One module per figure; `draw` takes the frames a stage wrote and returns a matplotlib figure. No
number is typed in."""
