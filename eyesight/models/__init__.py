"""Networks: ours and the published ones, one family per file; pretrained backbones through timm."""
