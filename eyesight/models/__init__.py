"""Networks, one family per file, and pretrained backbones from timm."""
