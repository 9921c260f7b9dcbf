"""From images and annotations to an nnU-Net raw dataset with an ignore label: cases -> dataset."""
