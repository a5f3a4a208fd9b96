"""The colours of all figures, told apart with any colour vision."""

# Of Okabe and Ito, https://jfly.uni-koeln.de/color/.
TRUTH, PREDICTION = "#56B4E9", "#E69F00"  # outlines, on grey
ACCENT, DOTS = "#0072B2", "#E69F00"  # lines and points, on white
SERIES = (ACCENT, "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
SHARES = "cividis"  # colour maps, even in lightness: of shares, and of what is laid over a slice
OVERLAY = "inferno"
