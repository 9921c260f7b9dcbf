"""The colours of all pictures and figures."""

# on grey images
FOREGROUND, UNLABELLED, REFERENCE = "#ffb000", "#66aaff", "#33dd88"
OTHER_LABEL, SCRIBBLE, POINT, BOX = "#c08bff", "#e040a0", "#ff4040", "#ffffff"
LABELS = (FOREGROUND, "#ff8fd0", "#c08bff", "#ffffff", "#ff7a4d")  # the sixth label has the first one's colour again
WARNING = "#a02000"
ON_IMAGES = (UNLABELLED, REFERENCE, SCRIBBLE, POINT, WARNING, *LABELS)

# distance of a surface to the reference: blue is too little, red too much (ColorBrewer RdBu, safe for the colour-blind)
DISTANCE = ("#2166ac", "#67a9cf", "#d1e5f0", "#f7f7f7", "#fddbc7", "#ef8a62", "#b2182b")
