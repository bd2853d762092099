//! What ONNX Runtime offers to compute with, and which of it takes a model.

use millwright_package::{Arena, Provider};
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};

use crate::worker::sandbox::Reach;

/// The candidates that this library was built with, in their order, and why not the others.
pub(crate) fn offered(candidates: &[Provider]) -> (Vec<Provider>, Vec<String>) {
    let (mut offered, mut passed_over) = (Vec::new(), Vec::new());
    for &candidate in candidates {
        match is_offered(candidate) {
            Ok(true) => offered.push(candidate),
            Ok(false) => passed_over.push(format!(
                "{candidate}: this build of ONNX Runtime has no such provider"
            )),
            Err(error) => passed_over.push(format!("{candidate}: {error}")),
        }
    }
    (offered, passed_over)
}

/// What a process has to reach that may compute with any of `offered`.
pub(crate) fn reach(offered: &[Provider]) -> Reach {
    let on_processor = |provider: &Provider| match provider {
        // Inside ONNX Runtime's own library.
        Provider::Cpu | Provider::Acl | Provider::Xnnpack => true,
        Provider::Cuda | Provider::Tensorrt | Provider::Openvino => false,
    };
    if offered.iter().all(on_processor) {
        Reach::Processor
    } else {
        Reach::Device
    }
}

fn is_offered(provider: Provider) -> Result<bool, ort::Error> {
    match provider {
        Provider::Cpu => Ok(true),
        Provider::Cuda => ep::CUDA::is_available(),
        Provider::Tensorrt => ep::TensorRT::is_available(),
        Provider::Openvino => ep::OpenVINO::is_available(),
        Provider::Acl => ep::ACL::is_available(),
        Provider::Xnnpack => ep::XNNPACK::is_available(),
    }
}

/// The provider for a session. The processor comes with each of them.
pub(crate) fn session_provider(provider: Provider, arena: Arena) -> ExecutionProviderDispatch {
    match provider {
        Provider::Cpu => {
            let keeps = matches!(arena, Arena::Kept);
            ep::CPU::default().with_arena_allocator(keeps).build()
        }
        Provider::Cuda => ep::CUDA::default().build(),
        Provider::Tensorrt => ep::TensorRT::default().build(),
        Provider::Openvino => ep::OpenVINO::default().build(),
        Provider::Acl => ep::ACL::default().build(),
        Provider::Xnnpack => ep::XNNPACK::default().build(),
    }
    .error_on_failure()
}
