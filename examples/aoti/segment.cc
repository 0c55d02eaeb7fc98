// Labels of an image by what Inductor compiled (`--to aoti`), in C++ with torch's own libraries.
//
//   T=$(python -c "import torch, os; print(os.path.dirname(torch.__file__))")
//   g++ -std=c++20 segment.cc -I $T/include -I $T/include/torch/csrc/api/include -L $T/lib -ltorch -ltorch_cpu -lc10 \
//       -Wl,-rpath,$T/lib -o segment
//   ./segment model_aoti.pt2 photo.ppm labels.pgm
//
// Images are PPM (P6, 8 bits). The file is code, which runs with your rights: take it from nobody you do not trust.
#include <ATen/ATen.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <fstream>
#include <iostream>
#include <stdexcept>

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("segment MODEL.pt2 PHOTO.ppm LABELS.pgm");
  std::ifstream photo(argv[2], std::ios::binary);
  std::string kind;
  int64_t width = 0, height = 0, most = 0;
  if (!(photo >> kind >> width >> height >> most) || kind != "P6" || most != 255)
    throw std::runtime_error("expected a PPM file of 8 bits without comments");
  photo.get();
  at::Tensor image = at::empty({1, height, width, 3}, at::kByte);
  photo.read(reinterpret_cast<char*>(image.data_ptr<uint8_t>()), image.numel());

  torch::inductor::AOTIModelPackageLoader model(argv[1]);
  const at::Tensor label = model.run({image})[0].contiguous();

  std::ofstream labels(argv[3], std::ios::binary);
  labels << "P5\n" << width << " " << height << "\n255\n";
  labels.write(reinterpret_cast<const char*>(label.data_ptr<uint8_t>()), label.numel());
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
