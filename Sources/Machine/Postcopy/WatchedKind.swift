internal import GuestMemory
internal import LinuxSystem

/// Kinds of memory for which a kernel's userfaultfd must have a feature; private memory needs none.
public enum WatchedKind: Sendable {
    case shared
    case huge

    /// What kind a block is of, nil if it is private memory in small pages.
    init?(of block: RAMBlock) {
        if block.hostPageByteCount > pageSize {
            self = .huge
        } else if block.isShared {
            self = .shared
        } else {
            return nil
        }
    }

    var feature: UserFault.Features {
        switch self {
        case .shared: .missingSharedMemory
        case .huge: .missingHugePages
        }
    }

    /// Why a block of this kind cannot be moved by post-copy on a kernel without the feature, and what to do about it.
    func refusal(of block: RAMBlock) -> String {
        let (what, name, option) =
            switch self {
            case .shared: ("shared memory", "UFFD_FEATURE_MISSING_SHMEM", "shared=on")
            case .huge: ("made of huge pages", "UFFD_FEATURE_MISSING_HUGETLBFS", "hugepages=")
            }
        return "RAM block \(block.name) is \(what), which this kernel's userfaultfd does not serve in post-copy "
            + "(\(name), Linux 4.11): use a newer kernel, or start this monitor without \(option)."
    }
}
