"""Networks: ours and the published ones, one family a file; pretrained backbones through timm."""
