// Labels of an image by an exported file, in C++ with onnxruntime alone.
//
//   g++ -std=c++17 segment.cc -I $ORT/include -L $ORT/lib -lonnxruntime -o segment
//   ./segment model.onnx photo.ppm labels.pgm overlay.ppm
//
// $ORT: a release of onnxruntime for C++, unpacked, or what for_cpp.sh makes. Images are PPM (P6, 8 bits). The file is
// one of `--output label`, the usual one, with up to 256 classes. Colours are read from its metadata: the list of lists
// behind "palette".
#include <onnxruntime_cxx_api.h>

#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

int main(int argc, char** argv) try {
  if (argc != 5) throw std::runtime_error("segment MODEL.onnx PHOTO.ppm LABELS.pgm OVERLAY.ppm");
  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "segment");
  Ort::Session session(env, argv[1], Ort::SessionOptions());

  Ort::AllocatorWithDefaultOptions allocator;
  auto about = session.GetModelMetadata().LookupCustomMetadataMapAllocated("intarsia", allocator);
  if (!about) throw std::runtime_error("the file was not exported by Intarsia");
  const std::string text = about.get();
  std::vector<int> palette;  // red, green, blue of each class, one after another
  for (size_t at = text.find("\"palette\": [") + 12, depth = 1; depth > 0 && at < text.size(); ++at) {
    if (text[at] == '[') ++depth;
    else if (text[at] == ']') --depth;
    else if (isdigit(text[at])) palette.push_back(std::atoi(&text[at])), at = text.find_first_not_of("0123456789", at) - 1;
  }

  std::ifstream photo(argv[2], std::ios::binary);
  std::string kind;
  int64_t width = 0, height = 0, most = 0;
  if (!(photo >> kind >> width >> height >> most) || kind != "P6" || most != 255 || width < 1 || height < 1)
    throw std::runtime_error("expected a PPM file of 8 bits without comments");
  photo.get();
  std::vector<uint8_t> pixels(3 * width * height);
  if (!photo.read(reinterpret_cast<char*>(pixels.data()), pixels.size())) throw std::runtime_error("the photo ends early");

  const std::vector<int64_t> shape{1, height, width, 3};
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto image = Ort::Value::CreateTensor<uint8_t>(memory, pixels.data(), pixels.size(), shape.data(), shape.size());
  const char *inputs[] = {"image"}, *outputs[] = {"label"};
  auto found = session.Run(Ort::RunOptions{nullptr}, inputs, &image, 1, outputs, 1);
  if (found[0].GetTensorTypeAndShapeInfo().GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8)
    throw std::runtime_error("expected labels of 8 bits");
  const uint8_t* label = found[0].GetTensorData<uint8_t>();

  std::ofstream labels(argv[3], std::ios::binary), overlay(argv[4], std::ios::binary);
  labels << "P5\n" << width << " " << height << "\n255\n";
  labels.write(reinterpret_cast<const char*>(label), width * height);
  overlay << "P6\n" << width << " " << height << "\n255\n";
  for (int64_t at = 0; at < 3 * width * height; ++at)
    overlay.put(static_cast<char>(pixels[at] / 2 + palette.at(3 * label[at / 3] + at % 3) / 2));
  if (!labels.flush() || !overlay.flush()) throw std::runtime_error("could not write the results");
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
