// Labels of an image by an exported file of `--output label` with up to 256 classes, in C++ with onnxruntime alone.
//
//   g++ -std=c++17 segment.cc -I $ORT/include -L $ORT/lib -lonnxruntime -o segment
//   ./segment model.onnx photo.ppm labels.pgm
//
// $ORT: a release of onnxruntime for C++, unpacked, or what for_cpp.sh makes. Photos are PPM (P6, 8 bits).
#include <onnxruntime_cxx_api.h>

#include <fstream>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 4) throw std::runtime_error("segment MODEL.onnx PHOTO.ppm LABELS.pgm");
  std::ifstream photo(argv[2], std::ios::binary);
  std::string kind;
  int64_t width = 0, height = 0, most = 0;
  if (!(photo >> kind >> width >> height >> most) || kind != "P6" || most != 255 || width < 1 || height < 1)
    throw std::runtime_error("expected a PPM file of 8 bits without comments");
  std::vector<uint8_t> pixels(3 * width * height);
  photo.get();
  if (!photo.read(reinterpret_cast<char*>(pixels.data()), pixels.size())) throw std::runtime_error("the photo ends early");

  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "segment");
  Ort::Session session(env, argv[1], Ort::SessionOptions());
  const std::vector<int64_t> shape{1, height, width, 3};
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  auto image = Ort::Value::CreateTensor<uint8_t>(memory, pixels.data(), pixels.size(), shape.data(), shape.size());
  const char *inputs[] = {"image"}, *outputs[] = {"label"};
  auto found = session.Run(Ort::RunOptions{nullptr}, inputs, &image, 1, outputs, 1);
  if (found[0].GetTensorTypeAndShapeInfo().GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8)
    throw std::runtime_error("expected labels of 8 bits");

  std::ofstream labels(argv[3], std::ios::binary);
  labels << "P5\n" << width << " " << height << "\n255\n";
  labels.write(reinterpret_cast<const char*>(found[0].GetTensorData<uint8_t>()), width * height);
  if (!labels.flush()) throw std::runtime_error("could not write the labels");
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
