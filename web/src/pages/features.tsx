import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["features"] ?? ""} />;
}

export const features: PageOf = { path: "features", nav: "Features", title: () => "Features", Page };
